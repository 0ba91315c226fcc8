"""The door: Hydra's composition on one side, plain dataclasses on the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bn_repro.config.schema import Config
from bn_repro.records.paths import CONFIGS

GROUPS = ("experiment", "scale", "data", "wandb", "study")

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
    """The configuration that ``scripts/train.py <overrides>`` would run.

    Hydra composes once for each choice of groups, which takes a tenth of a second; plain keys are
    then set as it sets them itself, in a thousandth.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    keys = [word for word in parsed if _is_plain_key(word)]
    groups = tuple(str(word.input_line) for word in parsed if word not in keys)
    composed = copy.deepcopy(_composed(groups))
    for word in keys:
        OmegaConf.update(composed, word.key_or_group, word.value(), merge=True)
    return plain(composed)


def _is_plain_key(word: Override) -> bool:
    other = word.is_add() or word.is_force_add() or word.is_delete() or word.is_sweep_override()
    key = word.key_or_group
    group = key.split("/")[0] in GROUPS or key.startswith("hydra")
    return not (other or group or word.package is not None)


@lru_cache(maxsize=256)
def _composed(words: tuple[str, ...]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():
        return hydra.compose("config", overrides=list(words))
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra.compose("config", overrides=list(words))
