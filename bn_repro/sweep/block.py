"""One block of a study: checked, expanded to its runs, its values chosen by those of another.

A block is a grid, ``{experiment: [...], seed: [...], <key>: [...]}``. A value ``{best_of: NAME}``
stands for the value of its key in the setting of the earlier block NAME with the highest mean
accuracy, per experiment: a rate chosen on held-out images, say. Keys of one block that use
``best_of`` are chosen together.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from bn_repro.config.compose import compose_once, quoted
from bn_repro.config.schema import StudyConfig
from bn_repro.sweep.planned import Accuracy, PlannedRun


class WaitingForBlock(Exception):
    """A block waits for the runs of an earlier one."""


ENGINE = "train.engine"
"""It is no part of a run's id, so blocks with it and without can share a study."""

OF_EVERY_RUN = {"experiment": (str, "names"), "seed": (int, "whole numbers")}
"""The keys that no block chooses by ``best_of``, and what they list."""


def checked_block(
    study: StudyConfig, number: int, block: Any, before: Container[str], overrides: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """A block's name, of none ``before`` it, and the keys that it sweeps; ValueError where it is
    not a grid."""
    if not isinstance(block, dict) or "experiment" not in block:
        raise ValueError(f"study {study.name}: block {number} needs an experiment: [...]")
    name = block.get("name", f"block {number}")
    if not isinstance(name, str) or name in before:
        raise ValueError(f"study {study.name}: block {number} needs a name of its own, not {name}")
    swept = {key: values for key, values in block.items() if key != "name"}
    typed = {override.lstrip("+~").split("=", 1)[0] for override in overrides} - {"scale"}
    if any(isinstance(other, dict) and ENGINE not in other for other in study.blocks):
        typed -= {ENGINE}
    for key, values in swept.items():
        if key.startswith(("study", "hydra")):
            raise ValueError(f"study {study.name}, {name}: {key}: is of the command, not of a run")
        if key in typed:
            hint = "study.seeds=N takes the first N" if key == "seed" else "leave it out"
            raise ValueError(f"{key}: study {study.name} sweeps this key itself; {hint}")
        kind, words = OF_EVERY_RUN.get(key, (None, "values"))
        listed = values if isinstance(values, list) else []
        fits = all(not isinstance(v, dict) and kind in (None, type(v)) for v in listed)
        if not values or not fits or (not listed and (kind or not isinstance(values, dict))):
            raise ValueError(f"study {study.name}, {name}: {key} must be a list of {words}")
    return name, swept


def require_different_arms(where: str, runs: Sequence[PlannedRun]) -> None:
    """ValueError where an override makes two of a block's experiments the same network."""
    found: dict[tuple[str, int], str] = {}
    for run in runs:
        experiment, identity, seed = run.key
        other = found.setdefault((identity, seed), experiment)
        if other != experiment:
            raise ValueError(
                f"{where}: {other} and {experiment} would be the same run under two names; "
                "leave out the key in which they differ"
            )


def ends_of(key: str, values: Any, needed: Sequence[Any]) -> Any:
    """The first, the last and the ``needed`` of a list: a grid small enough to try in seconds."""
    whole = key in ("experiment", "seed") or not isinstance(values, list) or len(values) < 3
    kept = values if whole else [values[0], values[-1], *needed]
    return [value for value in values if value in kept] if isinstance(values, list) else values


def needed_by_later(study: StudyConfig, name: str) -> dict[str, list[Any]]:
    """By key, the only value of a block that chooses another key from block ``name``."""
    found: dict[str, list[Any]] = {}
    for block in study.blocks:
        if any(isinstance(v, dict) and v.get("best_of") == name for v in block.values()):
            for key, values in block.items():
                if isinstance(values, list) and len(values) == 1:
                    found.setdefault(key, []).extend(values)
    return found


def grid(
    study: str,
    swept: dict[str, Any],
    blocks: dict[str, list[PlannedRun]],
    overrides: Sequence[str],
    accuracy: Accuracy,
) -> Iterator[PlannedRun]:
    """The runs of a block that sweeps these keys: each setting, with what it chooses from another.

    ``blocks`` are the runs of those before it. ValueError for a ``best_of`` that names none of
    them; :class:`WaitingForBlock` where its runs have not finished.
    """
    fixed = {key: values for key, values in swept.items() if isinstance(values, list)}
    common = frozenset(key for key, values in fixed.items() if len(values) == 1)
    for values in itertools.product(*fixed.values()):
        point = dict(zip(fixed, values, strict=True))
        chosen: dict[str, list[str]] = {}
        for key, rule in swept.items():
            if isinstance(rule, dict):
                block = rule.get("best_of", "")
                if not isinstance(block, str) or block not in blocks:
                    raise ValueError(f"study {study}: {key}: best_of: no block {block!r} before it")
                chosen.setdefault(block, []).append(key)
        for block, keys in chosen.items():
            point |= _best(keys, point, blocks[block], accuracy)
        varied = {key: v for key, v in point.items() if key not in ("experiment", "seed", ENGINE)}
        made = [f"{key}={_as_override(v)}" for key, v in point.items()]
        others = [override for override in overrides if not override.startswith("study")]
        config = compose_once([*made, *others])
        if study:  # a tag, by which a dashboard finds the study's runs
            tags = [*config.wandb.tags, study]
            config = replace(config, wandb=replace(config.wandb, tags=tags))
        yield PlannedRun(config, varied, common)


def _best(
    keys: list[str], point: dict[str, Any], tried: list[PlannedRun], accuracy: Accuracy
) -> dict[str, Any]:
    """The values of ``keys`` with the best mean accuracy among runs that else match ``point``."""
    if not tried:
        raise WaitingForBlock
    found: dict[tuple[Any, ...], list[float]] = {}
    for run in tried:
        setting = {"experiment": run.config.experiment, **run.varied}
        shared = (set(setting) & set(point)) - {*keys, "seed"}
        if all(setting[k] == point[k] for k in shared):
            top1 = accuracy(run)
            if top1 is None:
                raise WaitingForBlock
            found.setdefault(tuple(setting[k] for k in keys), []).append(top1)
    if not found:
        raise ValueError(f"best_of: no run of that block matches {point}")
    return dict(zip(keys, max(found, key=lambda values: fmean(found[values])), strict=True))


def _as_override(value: Any) -> str:
    """A value as Hydra's command line reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(map(_as_override, value)) + "]"
    return quoted(value) if isinstance(value, str) else str(value)
