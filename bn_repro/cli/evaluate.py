"""Evaluate finished runs (one, several seeds, a study, an ensemble) by a single crop or by 144.

bn-repro evaluate experiment=imagenet/bn_x30 seed=0 evaluation.crops=144
bn-repro evaluate experiment=imagenet/bn_x30 evaluation.seeds=[0,1,2]
bn-repro evaluate study=fig4
"""

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
from bn_repro.cli import COMPLETED
from bn_repro.cli.main import overrides
from bn_repro.config.schema import Config, StudyConfig
from bn_repro.sweep.console import count_of, duration, log, new_console, percent, print_table
from bn_repro.sweep.planned import PlannedRun, accuracy_or_reported, reported_outcomes
from bn_repro.sweep.study import expand
from bn_repro.training.world import launched_world

if TYPE_CHECKING:  # torch, which is not needed to choose among runs
    from bn_repro.records.json_files import Row
    from bn_repro.training.multi_crop import ImageProgress

Evaluations: TypeAlias = "list[tuple[str, Row]]"
"""Titles of runs, or of an ensemble, each with a row of its evaluation."""


def main(config: Config) -> int:
    """Evaluate the finished runs of one experiment or of a study, and their ensemble."""
    console = new_console()
    print_table(console, table(evaluate_all(config, overrides(), console)))
    return COMPLETED


def evaluate_all(config: Config, own: Sequence[str], console: Console) -> Evaluations:
    """Evaluate the runs that the overrides ``own`` name, of which ``config`` is made.

    Runs are looked at before the first evaluation begins: ValueError for one that is unfinished. A
    diverged run left no network; beside others it is left out, and a line says so.
    """
    if launched_world().size > 1:
        raise ValueError("evaluate in one process; for runs of N ranks give evaluation.world=N")
    runs, together = runs_to_evaluate(config, own)
    from bn_repro.training import multi_crop  # torch

    asked = config.evaluation.crops
    crops = [asked] if asked else [1, 144] if has_ensembles(config) else [1]
    diverged = {r.key for r in runs if multi_crop.require_finished(r.config).state == "diverged"}
    for run in runs:
        if run.key in diverged and len(runs) > 1:
            log(console, f"{run.title}: diverged, and left no network to evaluate")
    trained = [r for r in runs if len(runs) == 1 or r.key not in diverged]
    evaluations: Evaluations = []
    for run, k in product(trained, crops):
        with progress_bar(console, f"{run.title}, {count_of(k, 'crop')}") as progress:
            evaluations.append((run.title, multi_crop.evaluate_run(run.config, k, progress)))
    for number, ensemble in enumerate(together, start=1):
        members = [m for m in ensemble if m.key not in diverged]
        one_of = f"ensemble {number}, {len(members)} networks"
        title = one_of if len(together) > 1 else f"ensemble of {len(members)}"
        if len(members) < len(ensemble) and not config.evaluation.ensemble:
            log(console, f"ensemble {number}: a network of it diverged; it is left out")
        elif members:
            evaluations += [(title, ensemble_row(members, k, evaluations)) for k in crops]
    return evaluations


def has_ensembles(config: Config) -> bool:
    """Whether a study is asked for that has ensembles, by its blocks or as it is asked."""
    names = [str(block.get("name", "")) for block in config.study.blocks]
    return any(map(ensembles.makes_ensembles, names)) or bool(names and config.evaluation.ensemble)


def runs_to_evaluate(
    config: Config, own: Sequence[str]
) -> tuple[list[PlannedRun], list[list[PlannedRun]]]:
    """The runs that a command names, and the ensembles of which all networks are among them."""
    study, asked = config.study, config.evaluation
    together: list[list[PlannedRun]] = []
    accuracy = accuracy_or_reported(reported_outcomes(study))
    if study.blocks:
        if asked.seeds:
            raise ValueError(
                f"evaluation.seeds: study {study.name} has its own; study.seeds=N takes the first N"
            )
        runs, _ = expand(study, own, accuracy)
        planned, _ = expand(replace(study, only=None), own, accuracy)
        keys = {run.key for run in runs}
        grouped = ensembles.grouped(planned, lambda run: run.blocks)
        several = [each for each in grouped if len(each) > 1]
        together = [each for each in several if keys.issuperset(run.key for run in each)]
    elif config.experiment:
        seeds = asked.seeds or [config.seed]
        block = {"experiment": [config.experiment], "seed": seeds}
        others = [override for override in own if override.split("=", 1)[0] not in block]
        runs, _ = expand(StudyConfig(blocks=[block], seeds=len(seeds)), others, accuracy)
    else:
        raise ValueError(
            "nothing to evaluate: give experiment=... or study=..., for example study=fig4"
        )
    if not runs:
        raise ValueError(f"study {study.name}: has no runs yet; train it first")
    if asked.ensemble and not together:
        if len(runs) < 2:
            raise ValueError(
                "evaluation.ensemble: it needs several runs; give evaluation.seeds=[0,1,2]"
            )
        together = [runs]
    return runs, together


def ensemble_row(members: Sequence[PlannedRun], crops: int, evaluations: Evaluations) -> Row:
    """The row of the members' mean probability, from the files that their evaluations left."""
    from bn_repro.training import multi_crop  # torch

    configs = [m.config for m in members]
    statistics = {multi_crop.statistics_of(c) for c in configs}
    files = [multi_crop.predictions_file(c, crops) for c in configs]
    probabilities, labels = ensembles.read(files)
    measured = ensembles.measure(ensembles.mean(probabilities), labels)
    first = members[0].title
    like = next(r for title, r in evaluations if title == first and r["crops"] == crops)
    row: dict[str, Any] = {key: measured.get(key, value) for key, value in like.items()}
    return row | {"statistics": " and ".join(sorted(statistics))}


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[ImageProgress]:
    """A bar in a terminal; everywhere, once it is done, the number of images and the time."""
    begun, images = time.monotonic(), 0
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)

        def progress(done: int, of: int) -> None:
            nonlocal images
            images = of
            bar.update(task, completed=done, total=of)

        yield progress
    if images:
        log(console, f"{title}: {images:,} images, {duration(time.monotonic() - begun)}")


def table(evaluations: Evaluations) -> Table:
    """A line for each evaluation."""
    made = Table(box=None, pad_edge=False)
    for name in ("run", "crops", "statistics", "top-1", "top-5", "loss"):
        made.add_column(name, justify="left" if name in ("run", "statistics") else "right")
    before = ""
    for title, row in evaluations:
        loss = "-" if row.get("loss") is None else f"{row['loss']:.3f}"
        top1, top5 = percent(row.get("top1")), percent(row.get("top5"))
        once = "" if title == before else title
        made.add_row(once, str(row["crops"]), row["statistics"], top1, top5, loss)
        before = title
    return made
