"""A study's blocks as the runs that they stand for.

A block is a grid, ``{experiment: [...], seed: [...], <key>: [...]}``; a study is the union of its
blocks. A value ``{best_of: <block>}`` stands for the value of its key in the setting of an earlier
block with the highest mean accuracy, per experiment: a rate chosen on held-out images, say. Keys
of one block that use ``best_of`` are chosen together. A block's ``scale: [...]`` takes the place of
the study's; one that the user typed takes the place of both. A typed ``train.engine`` is for the
blocks that list none.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from bn_repro.config.compose import compose, quoted
from bn_repro.config.identity import run_id
from bn_repro.config.schema import Config, StudyConfig
from bn_repro.records import paths
from bn_repro.records.reader import Outcome, Unreadable, copy_warning, finished

Key = tuple[str, str, int]
"""Of a run: its experiment, its id, its seed."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study or a sweep: its configuration, and what was varied to make it."""

    config: Config
    varied: dict[str, Any]
    common: frozenset[str] = frozenset()
    """The keys varied that all runs of its block share, and that no title needs."""
    blocks: tuple[str, ...] = ()
    """The names of the study's blocks that ask for it."""

    @cached_property
    def key(self) -> Key:
        """Which of all runs it is."""
        return self.config.experiment, run_id(self.config), self.config.seed

    @cached_property
    def directory(self) -> Path:
        """Its run directory."""
        return paths.run_directory(self.config.runs, *self.key)

    @property
    def title(self) -> str:
        """``mnist/bn optimizer.lr=0.3 seed 4``."""
        named = (item for item in self.varied.items() if item[0] not in self.common)
        varied = "".join(f" {key}={value}" for key, value in named)
        return f"{self.config.experiment}{varied} seed {self.config.seed}"


class WaitingForBlock(Exception):
    """A block waits for the runs of an earlier one."""


Accuracy = Callable[[PlannedRun], float | None]
"""The final accuracy of a finished run (0 where it diverged); None while it is not finished."""


def expand(
    study: StudyConfig, overrides: Sequence[str], accuracy: Accuracy
) -> tuple[list[PlannedRun], bool]:
    """The runs of ``study`` that are known by now, and whether these are all of them.

    ``overrides`` are the user's own, which hold for every run. A run that two blocks name is one
    run. A block that waits for another holds up no third one. ``study.only`` keeps the runs of
    the blocks that it names; the others serve ``best_of`` alone. ValueError for a block that is not
    a grid, an override of a key that a block sweeps, and a block or seeds that the study lacks.
    """
    blocks, waiting = _expanded(study, overrides, accuracy)
    runs, later = _asked_runs(study, blocks), [name for name in waiting if _asked(study, name)]
    if later and not runs:
        raise ValueError(
            f"study.only: {', '.join(later)}: waits for the runs of other blocks of study "
            f"{study.name} that have not finished; train these first"
        )
    return runs, not later


def every_run(study: StudyConfig, overrides: Sequence[str]) -> list[PlannedRun]:
    """The runs of all blocks, asked for or not, with any value where one waits for a choice."""
    return expand(replace(study, only=None), overrides, lambda run: 0.0)[0]


def accuracy_anew(study: StudyConfig, overrides: Sequence[str], accuracy: Accuracy) -> Accuracy:
    """``accuracy``, but None for the runs that the study is asked for: ``force`` trains them."""
    asked = {run.key for run in expand(study, overrides, lambda run: accuracy(run) or 0.0)[0]}
    return lambda run: None if run.key in asked else accuracy(run)


def _expanded(
    study: StudyConfig, overrides: Sequence[str], accuracy: Accuracy
) -> tuple[dict[str, list[PlannedRun]], list[str]]:
    """The runs of each block, and the blocks that wait for another, which have none yet."""
    scale_is_typed = any(override.startswith("scale=") for override in overrides)
    usual_scale = [] if study.scale is None or scale_is_typed else [f"scale={study.scale}"]
    seeds = (block.get("seed") for block in study.blocks if isinstance(block, dict))
    listed = max((len(values) for values in seeds if isinstance(values, list)), default=0)
    if study.seeds is not None and study.seeds > listed:
        raise ValueError(f"study.seeds: {study.seeds}, but study {study.name} lists {listed}")
    _require_known(study)
    blocks: dict[str, list[PlannedRun]] = {}
    waiting: list[str] = []
    known: dict[Key, float | None] = {}

    def once(run: PlannedRun) -> float | None:
        """Its accuracy, looked up once: each seed chooses its rate from the same runs."""
        if run.key not in known:
            known[run.key] = accuracy(run)
        return known[run.key]

    for number, block in enumerate(study.blocks, start=1):
        name, swept = _checked(study, number, block, blocks, overrides)
        if scale_is_typed:
            swept.pop("scale", None)
        own = [*overrides, *([] if "scale" in swept else usual_scale)]
        if ENGINE in swept:
            own = [override for override in own if not override.startswith(f"{ENGINE}=")]
        if "seed" in swept:
            swept["seed"] = swept["seed"][: _seeds(study, overrides)]
        if "scale=smoke" in overrides:
            needed = _needed(study, name)
            swept = {key: _ends(key, values, needed.get(key, [])) for key, values in swept.items()}
        try:
            blocks[name] = list(_grid(study.name, swept, blocks, own, once))
        except WaitingForBlock:
            blocks[name] = []  # so what it chooses for waits too
            waiting.append(name)
        _require_different_arms(f"study {study.name}, {name}", blocks[name])
    return blocks, waiting


def _asked(study: StudyConfig, name: str) -> bool:
    return study.only is None or name in study.only


def _asked_runs(study: StudyConfig, blocks: dict[str, list[PlannedRun]]) -> list[PlannedRun]:
    runs = _union(blocks)
    return [run for run in runs if any(_asked(study, name) for name in run.blocks)]


def _require_known(study: StudyConfig) -> None:
    """ValueError where ``study.only`` names a block that the study has not."""
    names = [block.get("name") for block in study.blocks if isinstance(block, dict)]
    for name in study.only or ():
        if name not in names:
            listed = ", ".join(str(n) for n in names if n)
            raise ValueError(
                f"study.only: study {study.name} has no block {name!r}; it has {listed}"
            )


ENGINE = "train.engine"
"""It is no part of a run's id, so blocks with it and without can share a study."""

OF_EVERY_RUN = {"experiment": (str, "names"), "seed": (int, "whole numbers")}
"""The keys that no block chooses by ``best_of``, and what they list."""


def _checked(
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


def _require_different_arms(where: str, runs: Sequence[PlannedRun]) -> None:
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


def numbered(study: StudyConfig, overrides: Sequence[str]) -> PlannedRun:
    """The run of the number ``study.run``, from 0, in the study's order.

    ValueError where there is none, or a block before it is not finished.
    """
    blocks, waiting = _expanded(study, overrides, accuracy_or_reported(reported_outcomes(study)))
    before = itertools.takewhile(lambda block: block[0] not in waiting, blocks.items())
    runs, number = _asked_runs(study, dict(before)), study.run or 0
    if number >= len(runs):
        so_far = "" if not waiting else " so far, and the next block needs them finished"
        raise ValueError(
            f"study.run: {number}, but study {study.name} has {len(runs)} runs{so_far}, "
            "numbered from 0"
        )
    return runs[number]


def _seeds(study: StudyConfig, overrides: Sequence[str]) -> int | None:
    return 1 if "scale=smoke" in overrides and study.seeds is None else study.seeds


def _ends(key: str, values: Any, needed: Sequence[Any]) -> Any:
    """The first, the last and the ``needed`` of a list: a grid small enough to try in seconds."""
    whole = key in ("experiment", "seed") or not isinstance(values, list) or len(values) < 3
    kept = values if whole else [values[0], values[-1], *needed]
    return [value for value in values if value in kept] if isinstance(values, list) else values


def _needed(study: StudyConfig, name: str) -> dict[str, list[Any]]:
    """By key, the only value of a block that chooses another key from block ``name``."""
    found: dict[str, list[Any]] = {}
    for block in study.blocks:
        if any(isinstance(v, dict) and v.get("best_of") == name for v in block.values()):
            for key, values in block.items():
                if isinstance(values, list) and len(values) == 1:
                    found.setdefault(key, []).extend(values)
    return found


def _grid(
    study: str,
    swept: dict[str, Any],
    blocks: dict[str, list[PlannedRun]],
    overrides: Sequence[str],
    accuracy: Accuracy,
) -> Iterator[PlannedRun]:
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
        made = [f"{key}={_as_override(v)}" for key, v in point.items() if key != "seed"]
        others = [override for override in overrides if not override.startswith("study")]
        config = _composed((*made, *others))
        if "seed" in point:
            config = replace(config, seed=point["seed"])
        if study:  # a tag, by which a dashboard finds the study's runs
            tags = [*config.wandb.tags, study]
            config = replace(config, wandb=replace(config.wandb, tags=tags))
        yield PlannedRun(config, varied, common)


@lru_cache(maxsize=4096)
def _composed(overrides: tuple[str, ...]) -> Config:
    """``compose``, which takes a twentieth of a second, once for all seeds and all expansions."""
    return compose(overrides)


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


WORD = re.compile(r"(?!(?i:true|false|null|inf|nan)$)[a-z_][\w./+-]*", re.ASCII | re.IGNORECASE)
"""What Hydra takes for a text without quotes, as it does not ``1e3``."""


def _as_override(value: Any) -> str:
    """A value as Hydra's command line reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(map(_as_override, value)) + "]"
    if isinstance(value, str) and not WORD.fullmatch(value):
        return quoted(value)
    return str(value)


def _union(blocks: dict[str, list[PlannedRun]]) -> list[PlannedRun]:
    """Each run once. ValueError where two blocks ask for one run by two engines."""
    asked: dict[Key, list[str]] = {}
    found: dict[Key, PlannedRun] = {}
    for name, of_block in blocks.items():
        for run in of_block:
            asked.setdefault(run.key, []).append(name)
            other = found.get(run.key, run)
            engines = other.config.train.engine, run.config.train.engine
            if len(set(engines)) > 1:
                raise ValueError(
                    f"study: blocks {asked[run.key][0]!r} and {name!r} both ask for {run.title}, "
                    f"by the engines {engines[0]} and {engines[1]}; give both one train.engine, or "
                    "other seeds"
                )
            found[run.key] = run
    runs = [replace(run, blocks=tuple(asked[key])) for key, run in found.items()]
    count = Counter(run.title for run in runs)
    return [replace(run, common=frozenset()) if count[run.title] > 1 else run for run in runs]


def accuracy_of(run: PlannedRun) -> float | None:
    """The final accuracy of a finished run, from its directory, unless that is another's copy."""
    try:
        return None if copy_warning(run.directory) else _accuracy(finished(run.directory))
    except Unreadable:  # whoever is to train it says so
        return None


def _accuracy(done: Outcome | None) -> float | None:
    if done is None:
        return None
    return 0.0 if done.state == "diverged" else done.top1


def reported_outcomes(study: StudyConfig) -> dict[Key, Outcome]:
    """How the runs in the study's ``results/<study>/runs.csv`` ended.

    Empty unless the study is asked for with ``skip_reported``: then these runs count as done.
    """
    return rows_of(paths.RESULTS / study.name / "runs.csv") if study.skip_reported else {}


def rows_of(table: Path) -> dict[Key, Outcome]:
    """How the runs of a ``runs.csv`` ended; empty where there is none.

    ValueError where it is no such table.
    """
    found: dict[Key, Outcome] = {}
    try:
        with open(table, newline="") as file:
            for row in csv.DictReader(file):
                step, seconds = int(row.get("step") or 0), float(row.get("seconds") or 0)
                top1 = float(row["final_top1"]) if row["final_top1"] else None
                outcome = Outcome(row["state"], step, seconds, top1)
                found[row["experiment"], row["id"], int(row["seed"])] = outcome
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{table}: not rows of runs ({error}); restore it from git, or write it anew with "
            "bn-repro report"
        ) from None
    return found


def accuracy_or_reported(rows: Mapping[Key, Outcome]) -> Accuracy:
    """As :func:`accuracy_of`; for a run that is not finished here, its accuracy in ``rows``."""

    def accuracy(run: PlannedRun) -> float | None:
        found = accuracy_of(run)
        return _accuracy(rows.get(run.key)) if found is None else found

    return accuracy
