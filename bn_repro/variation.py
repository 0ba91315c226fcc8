"""What was varied to make a run: how its configuration differs from its experiment's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from bn_repro.compose import compose
from bn_repro.config import Config

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
    words = [f"{key}={config[key]}" for key in ("experiment", "scale")]
    try:
        usual = _identity(compose(words))
    except Exception:  # a run of an experiment that is no more; Hydra has errors of many kinds
        return {}

    def value(key: str) -> Any:
        section, _, name = key.rpartition(".")
        return config.get(section, {}).get(name, usual[key])

    return {key: value(key) for key in usual if value(key) != usual[key]}


def _identity(config: Config) -> dict[str, Any]:
    """The fields that make a run what it is, by dotted key."""
    return {
        f"{part.name}.{f.name}": getattr(getattr(config, part.name), f.name)
        for part in fields(config)
        if is_dataclass(getattr(config, part.name)) and part.metadata.get("identity", True)
        for f in fields(getattr(config, part.name))
        if f.metadata.get("identity", True)
    }
