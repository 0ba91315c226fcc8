"""What was varied to make a run: how its configuration differs from its experiment's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records import paths

ID_LENGTH = 8

USUAL_SCALE = {"mnist": "paper", "imagenet": "proxy"}
"""What ``scale=default`` stands for, by the experiment's family."""


def tags_of(config: Mapping[str, Any]) -> list[str]:
    """The tags of a run in W&B, from its resolved configuration as ``config.yaml`` has it.

    Its norm, network, data and scale, each key that is not as the experiment's file has it
    (``optimizer.lr=0.5``), and those of ``wandb.tags``, of which a study's name is one.
    """
    name, scale = config["experiment"], config["scale"]
    norm = config["model"]["norm"]
    own = ["no norm" if norm == "none" else norm, config["model"]["name"], config["data"]["name"]]
    usual = USUAL_SCALE.get(name.split("/")[0]) if scale == "default" else scale
    varied = [f"{key}={value}" for key, value in variation(config).items()]
    tags = [*own, usual, *varied, *config.get("wandb", {}).get("tags", [])]
    return list(dict.fromkeys(tag for tag in tags if tag))


def arm_of(config: Mapping[str, Any]) -> str:
    """What a run shares with its other seeds, in words: ``mnist/bn smoke optimizer.lr=0.5``."""
    varied = [f"{key}={value}" for key, value in variation(config).items()]
    return " ".join([at_scale(config["experiment"], config["scale"]), *varied])


def at_scale(experiment: str, scale: str) -> str:
    """``mnist/bn`` at its usual scale, ``mnist/bn smoke`` at another."""
    usual = scale in ("default", USUAL_SCALE.get(experiment.split("/")[0]))
    return experiment if usual else f"{experiment} {scale}"


def variation(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys whose values are not those of the experiment's file at the same scale."""
    from bn_repro.config.compose import compose  # Hydra, which who only reads runs does without

    words = [f"{key}={config[key]}" for key in ("experiment", "scale")]
    try:
        usual = _identity(compose(words))
    except Exception:  # a run of an experiment that is no more; Hydra has errors of many kinds
        return {}

    def value(key: str) -> Any:
        section, _, name = key.rpartition(".")
        return config.get(section, {}).get(name, usual[key])

    return {key: value(key) for key in usual if value(key) != usual[key]}


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``config.yaml`` says of what makes a run what it is, by dotted key.

    Keys that this version does not know are kept: they may be what tells two runs apart.
    """
    aside = _aside_keys()
    return {
        f"{name}.{key}": value
        for name in ("model", "data", "optimizer", "train")
        for key, value in (config.get(name) or {}).items()
        if f"{name}.{key}" not in aside
    }


@cache
def _aside_keys() -> set[str]:
    config = Config()
    return {
        f"{part.name}.{f.name}"
        for part in fields(config)
        if is_dataclass(getattr(config, part.name))
        for f in fields(getattr(config, part.name))
        if not f.metadata.get("identity", True)
    }


def _identity(config: Config) -> dict[str, Any]:
    """The fields that make a run what it is, by dotted key."""
    return {
        f"{part.name}.{f.name}": getattr(getattr(config, part.name), f.name)
        for part in fields(config)
        if is_dataclass(getattr(config, part.name)) and part.metadata.get("identity", True)
        for f in fields(getattr(config, part.name))
        if f.metadata.get("identity", True)
    }


def differences(config: object) -> dict[str, Any]:
    """The fields of identity that differ from the schema's defaults, by dotted key, in order."""
    found: dict[str, Any] = {}
    default = type(config)()
    for f in fields(config):  # pyright: ignore[reportArgumentType]
        if not f.metadata.get("identity", True):
            continue
        value = getattr(config, f.name)
        if is_dataclass(value):
            found |= {f"{f.name}.{key}": v for key, v in differences(value).items()}
        elif value != getattr(default, f.name):
            found[f.name] = value
    return found


def run_id(config: Config, world: int = 1) -> str:
    """The run's name within its experiment: a hash of what differs from the defaults.

    A default spelled out or left out gives the same run, and a key added tomorrow renames nothing.
    The number of ranks counts where there are several: each adds its own mini-batch.
    """
    identity = differences(config) | ({"world": world} if world > 1 else {})
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def directory_of(config: Config, world: int = 1) -> Path:
    """Where the run of this configuration lives."""
    return paths.run_directory(config.runs, config.experiment, run_id(config, world), config.seed)
