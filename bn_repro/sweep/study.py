"""A study's blocks as the runs that they stand for.

A study is the union of its blocks (:mod:`block`). A block's ``scale: [...]`` takes the place of the
study's; one that the user typed takes the place of both. A typed ``train.engine`` is for the blocks
that list none.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bn_repro.config.schema import StudyConfig
from bn_repro.sweep.block import (
    ENGINE,
    WaitingForBlock,
    checked_block,
    ends_of,
    grid,
    needed_by_later,
    require_different_arms,
)
from bn_repro.sweep.planned import (
    Accuracy,
    Key,
    PlannedRun,
    accuracy_or_reported,
    reported_outcomes,
)


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
        name, swept = checked_block(study, number, block, blocks, overrides)
        if scale_is_typed:
            swept.pop("scale", None)
        own = [*overrides, *([] if "scale" in swept else usual_scale)]
        if ENGINE in swept:
            own = [override for override in own if not override.startswith(f"{ENGINE}=")]
        smoke = "scale=smoke" in overrides
        if "seed" in swept:
            first = 1 if smoke and study.seeds is None else study.seeds
            swept["seed"] = swept["seed"][:first]
        if smoke:
            needed = needed_by_later(study, name)
            swept = {
                key: ends_of(key, values, needed.get(key, [])) for key, values in swept.items()
            }
        try:
            blocks[name] = list(grid(study.name, swept, blocks, own, once))
        except WaitingForBlock:
            blocks[name] = []  # so what it chooses for waits too
            waiting.append(name)
        require_different_arms(f"study {study.name}, {name}", blocks[name])
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
