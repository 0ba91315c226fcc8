"""The door: Hydra's composition on one side, plain dataclasses on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from bn_repro.config import Config

CONFIGS = Path(__file__).parent.parent / "configs"

ConfigStore.instance().store(name="schema", node=Config)


def plain(composed: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked: ValueError names a key that is off."""
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    _no_other_keys(config)
    return config


def _no_other_keys(part: object, prefix: str = "") -> None:
    """Hydra lets ``+key=value`` add what the schema does not have; it would be ignored."""
    names = {f.name for f in fields(part)}  # pyright: ignore[reportArgumentType]
    for name, value in vars(part).items():
        if name not in names:
            raise ValueError(
                f"{prefix}{name}: no such key; {prefix or 'the configuration '}has "
                f"{', '.join(sorted(names))}"
            )
        if is_dataclass(value):
            _no_other_keys(value, f"{prefix}{name}.")


def compose(overrides: Sequence[str]) -> Config:
    """The configuration that ``scripts/train.py <overrides>`` would run."""
    if GlobalHydra.instance().is_initialized():
        return plain(hydra.compose("config", overrides=list(overrides)))
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return plain(hydra.compose("config", overrides=list(overrides)))
