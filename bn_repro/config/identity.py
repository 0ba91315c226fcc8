"""What identifies a run: its id, its directory, and what was varied to make it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bn_repro.config.fields import settings
from bn_repro.config.schema import KINDS, SETTINGS, Config
from bn_repro.records import paths
from bn_repro.records.paths import CONFIGS

ID_LENGTH = 8


def differences(config: Config) -> dict[str, Any]:
    """The keys of identity that differ from the defaults, in order.

    The defaults are those of section 4.1's network on mnist_binary, whatever the model and the data
    set are; a key that these two lack has its own default.
    """
    reference = _defaults()
    return {
        s.key: s.value
        for s in settings(config)
        if s.identity and s.value != reference.get(s.key, s.default)
    }


@cache
def _defaults() -> dict[str, Any]:
    return {s.key: s.value for s in settings(Config())}


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


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``config.yaml`` says of what makes a run what it is, by dotted key.

    Older files have the keys of all models and data sets: those of another than the run's are left
    out. Keys that this version does not know are kept: they may be what tells two runs apart.
    """
    found: dict[str, Any] = {}
    for section in dict.fromkeys(k.partition(".")[0] for k, s in SETTINGS.items() if s.identity):
        values = config.get(section) or {}
        kind = KINDS.get(section, {}).get(values.get("name", ""))
        own = {s.key for s in settings(kind(), f"{section}.")} if kind else SETTINGS.keys()
        for name, value in values.items():
            key = f"{section}.{name}"
            if key not in SETTINGS or (key in own and SETTINGS[key].identity):
                found[key] = value
    return found


def variation(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys whose values are not those of the experiment's file at the same scale."""
    from bn_repro.config.compose import compose  # imports Hydra, which readers of runs do without

    try:
        usual = compose([f"{key}={config[key]}" for key in ("experiment", "scale")])
    except Exception:  # a run of an experiment that is no more; Hydra has errors of many kinds
        return {}
    values = {s.key: s.value for s in (*SETTINGS.values(), *settings(usual))}
    own = settings_of(config)
    return {key: v for key, v in own.items() if key in values and v != values[key]}


def tags_of(config: Mapping[str, Any]) -> list[str]:
    """The tags of a run in W&B, from its resolved configuration as ``config.yaml`` has it.

    Its norm, network, data and scale, each key that is not as the experiment's file has it
    (``optimizer.lr=0.5``), and those of ``wandb.tags``, of which a study's name is one.
    """
    name, scale = config["experiment"], config["scale"]
    norm = config["model"]["norm"]
    own = ["no norm" if norm == "none" else norm, config["model"]["name"], config["data"]["name"]]
    usual = usual_scale(name) if scale == "default" else scale
    varied = [f"{key}={value}" for key, value in variation(config).items()]
    tags = [*own, usual, *varied, *config.get("wandb", {}).get("tags", [])]
    return list(dict.fromkeys(tag for tag in tags if tag))


def arm_of(config: Mapping[str, Any]) -> str:
    """What a run shares with its other seeds, in words: ``mnist/bn smoke optimizer.lr=0.5``."""
    varied = [f"{key}={value}" for key, value in variation(config).items()]
    return " ".join([at_scale(config["experiment"], config["scale"]), *varied])


def at_scale(experiment: str, scale: str) -> str:
    """``mnist/bn`` at its usual scale, ``mnist/bn smoke`` at another."""
    usual = scale in ("default", usual_scale(experiment))
    return experiment if usual else f"{experiment} {scale}"


@cache
def usual_scale(experiment: str) -> str | None:
    """What ``scale=default`` stands for: its file builds on the scale that it names first.

    None for the experiment of a family that has no such file.
    """
    path = CONFIGS / "scale" / experiment.split("/")[0] / "default.yaml"
    try:
        return yaml.safe_load(path.read_text())["defaults"][0]
    except (OSError, LookupError, TypeError):
        return None
