"""A study's blocks as the runs that they stand for.

A block is a grid, ``{experiment: [...], seed: [...], <key>: [...]}``; a study is the union of its
blocks. A value ``{best_of: <block>}`` stands for the one value of its key, per experiment, with the
highest mean accuracy in an earlier block: a rate chosen on held-out images, say.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bn_repro.compose import compose
from bn_repro.config import Config, StudyConfig, run_id
from bn_repro.experiment import directory_of, finished
from bn_repro.record import last_top1

NOT_KEYS = ("name",)


@dataclass(frozen=True)
class Planned:
    """A run of a study: its configuration, the words that make it, and what its block varies."""

    config: Config
    overrides: tuple[str, ...]
    varied: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        """(experiment, id, seed)."""
        return self.config.experiment, run_id(self.config), self.config.seed

    @property
    def directory(self) -> Path:
        """Its run directory."""
        return directory_of(self.config)

    @property
    def title(self) -> str:
        """``mnist/bn optimizer.lr=0.3 seed 4``."""
        varied = "".join(f" {key}={value}" for key, value in self.varied.items())
        return f"{self.config.experiment}{varied} seed {self.config.seed}"


class NotYet(Exception):
    """A block waits for the runs of an earlier one."""


Accuracy = Callable[[Planned], float | None]
"""The final accuracy of a finished run (0 where it diverged); None while it is not finished."""


def expand(
    study: StudyConfig, words: Sequence[str], accuracy: Accuracy
) -> tuple[list[Planned], bool]:
    """The runs of ``study`` that are known by now, and whether these are all of them.

    ``words`` are the user's own overrides, which hold for every run. A run that two blocks name is
    one run. Raises ValueError for a block that is not a grid, and for a word that a block sweeps.
    """
    if study.scale is not None and not any(word.startswith("scale=") for word in words):
        words = [*words, f"scale={study.scale}"]
    own = {word.lstrip("+~").split("=", 1)[0] for word in words}
    blocks: dict[str, list[Planned]] = {}
    for number, block in enumerate(study.blocks):
        name = block.get("name", f"block {number + 1}")
        swept = {key: values for key, values in block.items() if key not in NOT_KEYS}
        for key, values in swept.items():
            if key in own:
                hint = "study.seeds=N takes the first N" if key == "seed" else "leave it out"
                raise ValueError(f"{key}: study {study.name} sweeps this key itself; {hint}")
            if not isinstance(values, list | dict) or not values:
                raise ValueError(f"study {study.name}, {name}: {key} must be a list of values")
        if "seed" in swept:
            swept["seed"] = swept["seed"][: _seeds(study, words)]
        try:
            blocks[name] = list(_grid(swept, blocks, words, accuracy))
        except NotYet:
            return _union(blocks), False
    return _union(blocks), True


def _seeds(study: StudyConfig, words: Sequence[str]) -> int | None:
    return 1 if "scale=smoke" in words and study.seeds is None else study.seeds


def _grid(swept: dict[str, Any], blocks: dict[str, list[Planned]], words: Any, accuracy: Accuracy):
    fixed = {key: values for key, values in swept.items() if isinstance(values, list)}
    for values in itertools.product(*fixed.values()):
        point = dict(zip(fixed, values, strict=True))
        for key, rule in swept.items():
            if isinstance(rule, dict):
                point[key] = _best(key, point, blocks[rule["best_of"]], accuracy)
        overrides = tuple(f"{key}={_word(value)}" for key, value in point.items())
        config = compose([*overrides, *(w for w in words if not w.startswith("study"))])
        varied = {key: v for key, v in point.items() if key not in ("experiment", "seed")}
        yield Planned(config, overrides, varied)


def _best(key: str, point: dict[str, Any], tried: list[Planned], accuracy: Accuracy) -> Any:
    """The value of ``key`` with the best mean accuracy among the runs that else match ``point``."""
    by_value: dict[Any, list[float]] = {}
    for run in tried:
        setting = {"experiment": run.config.experiment, **run.varied}
        shared = (set(setting) & set(point)) - {key, "seed"}
        if all(setting[k] == point[k] for k in shared):
            top1 = accuracy(run)
            if top1 is None:
                raise NotYet
            by_value.setdefault(setting[key], []).append(top1)
    if not by_value:
        raise ValueError(f"best_of: no run of that block matches {point}")
    return max(by_value, key=lambda value: fmean(by_value[value]))


def _word(value: Any) -> str:
    return "null" if value is None else str(value).replace("'", "").replace(" ", "")


def _union(blocks: dict[str, list[Planned]]) -> list[Planned]:
    return list({run.key: run for runs in blocks.values() for run in runs}.values())


def accuracy_of(run: Planned) -> float | None:
    """The final accuracy of a finished run, from its directory."""
    done = finished(run.directory)
    if done is None:
        return None
    return 0.0 if done.state == "diverged" else last_top1(run.directory)


def committed_accuracy(table: Path) -> Accuracy:
    """As :func:`accuracy_of`; where there is no run directory, from a committed ``runs.csv``."""
    rows: dict[tuple[str, str, int], float] = {}
    if table.exists():
        with open(table, newline="") as file:
            for row in csv.DictReader(file):
                top1 = 0.0 if row["state"] == "diverged" else float(row["final_top1"] or 0)
                rows[row["experiment"], row["id"], int(row["seed"])] = top1

    def accuracy(run: Planned) -> float | None:
        found = accuracy_of(run)
        return rows.get(run.key) if found is None else found

    return accuracy
