"""The door: Hydra's composition on one side, plain dataclasses on the other."""

from __future__ import annotations

from collections.abc import Sequence
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
    return config


def compose(overrides: Sequence[str]) -> Config:
    """The configuration that ``scripts/train.py <overrides>`` would run."""
    if GlobalHydra.instance().is_initialized():
        return plain(hydra.compose("config", overrides=list(overrides)))
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return plain(hydra.compose("config", overrides=list(overrides)))
