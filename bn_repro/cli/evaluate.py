"""The finished runs that a command names: evaluated one by one, and as an ensemble."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bn_repro.analysis import ensembles
from bn_repro.cli.errors import COMPLETED, PREEMPTED
from bn_repro.cli.main import words
from bn_repro.config.schema import Config, StudyConfig
from bn_repro.sweep import display
from bn_repro.sweep.display import duration, percent
from bn_repro.sweep.study import PlannedRun, accuracy_of, expand
from bn_repro.training.world import launched_world

if TYPE_CHECKING:  # torch, which to choose among runs needs not
    from bn_repro.records.reader import Row
    from bn_repro.training.multi_crop import ImageProgress

Found: TypeAlias = "list[tuple[str, Row]]"
"""Titles of runs, or of an ensemble, each with a row of its evaluation."""


def main(config: Config) -> int:
    """Evaluate finished runs, those of one experiment or of a study, and their ensemble."""
    console = display.console()
    try:
        found = evaluate_all(config, words(), console)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return PREEMPTED
    console.print(table(found))
    return COMPLETED


def evaluate_all(config: Config, words: Sequence[str], console: Console) -> Found:
    """Evaluate what ``words`` name, of which ``config`` is made.

    Runs are looked at before the first evaluation begins: ValueError for one that is unfinished. A
    diverged run left no network; beside others it is left out, and said to be.
    """
    from bn_repro.training import multi_crop  # torch

    if launched_world().size > 1:
        raise ValueError("evaluate in one process; evaluation.world=N is for runs of N ranks")
    runs, members = chosen(config, words)
    asked = config.evaluation.crops
    crops = [asked] if asked else [1, 144] if members and config.study.blocks else [1]
    lost = {r.key for r in runs if multi_crop.require_finished(r.config).state == "diverged"}
    for run in runs:
        if run.key in lost and len(runs) > 1:
            console.print(f"{run.title}: diverged, and left no network to evaluate")
    whole = [r for r in runs if len(runs) == 1 or r.key not in lost]
    found: Found = []
    for run, k in product(whole, crops):
        with bar(console, f"{run.title}, {k} crop{'s' if k > 1 else ''}") as seen:
            found.append((run.title, multi_crop.evaluate_run(run.config, k, seen)))
    several = [m for m in members if m.key not in lost]
    if several:
        found += [(f"ensemble of {len(several)}", together(several, k, found)) for k in crops]
    return found


def chosen(config: Config, words: Sequence[str]) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """The runs to evaluate, and those of them that make an ensemble.

    In a study, the blocks whose name begins with ``ensemble`` are one.
    """
    study, asked, members = config.study, config.evaluation, []
    if study.blocks:
        if asked.seeds:
            raise ValueError(
                f"evaluation.seeds: study {study.name} has its own; study.seeds=N takes the first N"
            )
        runs, _ = expand(study, words, accuracy_of)
        named = [b for b in study.blocks if str(b.get("name", "")).startswith("ensemble")]
        named_runs, _ = expand(replace(study, blocks=named, seeds=None), words, accuracy_of)
        keys = {run.key for run in named_runs}
        members = [run for run in runs if run.key in keys]
    elif config.experiment:
        seeds = asked.seeds or [config.seed]
        block = {"experiment": [config.experiment], "seed": seeds}
        others = [word for word in words if word.split("=", 1)[0] not in block]
        runs, _ = expand(StudyConfig(blocks=[block], seeds=len(seeds)), others, accuracy_of)
    else:
        raise ValueError(
            "nothing to evaluate: give experiment=... or study=..., for example study=fig4"
        )
    if not runs:
        raise ValueError(f"study {study.name}: has no runs yet; train it first")
    if asked.ensemble and not members:
        members = runs
    if members and len(members) < 2:
        raise ValueError("evaluation.ensemble: one run makes none; give evaluation.seeds=[0,1,2]")
    return runs, members


def together(members: Sequence[PlannedRun], crops: int, found: Found) -> Row:
    """The row of the members' mean probability, from the files that their evaluations left."""
    from bn_repro.training import multi_crop  # torch

    configs = [m.config for m in members]
    statistics = {multi_crop.statistics_of(c) for c in configs}
    files = [multi_crop.predictions_file(c, crops) for c in configs]
    probabilities, labels = ensembles.read(files)
    measured = ensembles.measure(ensembles.mean(probabilities), labels)
    like = next(r for title, r in found if title == members[0].title and r["crops"] == crops)
    row: dict[str, Any] = {key: measured.get(key, value) for key, value in like.items()}
    return row | {"statistics": " and ".join(sorted(statistics))}


@contextmanager
def bar(console: Console, title: str) -> Iterator[ImageProgress]:
    """Progress in a terminal; how long it took, once it is done, everywhere."""
    begun, told = time.monotonic(), 0
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(title, total=None)

        def seen(done: int, of: int) -> None:
            nonlocal told
            told = of
            shown.update(task, completed=done, total=of)

        yield seen
    if told:
        took = duration(time.monotonic() - begun)
        console.print(f"{title}: {told:,} images, {took}", soft_wrap=True, highlight=False)


def table(found: Found) -> Table:
    """A line for each evaluation."""
    shown = Table(box=None, pad_edge=False)
    for name in ("run", "crops", "statistics", "top-1", "top-5", "loss"):
        shown.add_column(name, justify="left" if name in ("run", "statistics") else "right")
    before = ""
    for title, row in found:
        loss = "-" if row["loss"] is None else f"{row['loss']:.3f}"
        top1, top5 = percent(row["top1"]), percent(row.get("top5"))
        once = "" if title == before else title
        shown.add_row(once, str(row["crops"]), row["statistics"], top1, top5, loss)
        before = title
    return shown
