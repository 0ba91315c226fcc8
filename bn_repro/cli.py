"""What the scripts do once Hydra has composed: train, or report, and say how it went."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from bn_repro import evaluation, progress
from bn_repro.analysis import report as analysis
from bn_repro.analysis import results
from bn_repro.analysis.load import Member
from bn_repro.build import check
from bn_repro.compose import CONFIGS, compose, plain
from bn_repro.config import Config
from bn_repro.distributed import launched_world
from bn_repro.experiment import run, set_aside
from bn_repro.scheduler import run_all
from bn_repro.study import Planned, accuracy_of, committed_accuracy, expand
from bn_repro.train import Outcome

RESULTS = CONFIGS.parent / "results"
ANYWHERE = {"study", "runs", "out", "data.root", "data.cache", "study.jobs", "device", "threads"}
"""Words that leave a study's runs the same ones."""

COMPLETED, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75

exit_code = COMPLETED
"""Of the process: Hydra swallows what a task returns, and must see no exit inside a sweep."""


def main(task: Callable[[DictConfig], int]) -> NoReturn:
    """Compose the command line's configuration, do ``task`` with it, and exit with its code."""

    def guarded(composed: DictConfig) -> None:
        global exit_code
        try:
            exit_code = task(composed)
        except ValueError as error:
            exit_code = refuse(error)
        except OSError as error:
            refuse(error)
            exit_code = FAILED
        except KeyboardInterrupt:
            exit_code = PREEMPTED

    hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")(guarded)()
    sys.exit(exit_code)


def refuse(error: Exception) -> int:
    """Tell what was wrong with the input."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def words() -> list[str]:
    """The overrides as the user typed them."""
    return list(HydraConfig.get().overrides.task)


def train(composed: DictConfig) -> int:
    """One run, or the runs of a study: their exit code."""
    config = plain(composed)
    if config.study.blocks:
        return train_study(config, words())
    check(config)
    return train_one(config)


def train_one(config: Config) -> int:
    """One run in this process."""
    title = f"{config.experiment} seed {config.seed}"
    console = progress.console()
    console.quiet = not launched_world().main
    board = progress.Board(console)
    board.begin([config.train.steps], finished=0)
    board.start(0, title, config.train.steps)
    say = partial(board.console.print, soft_wrap=True, highlight=False, markup=False)
    try:
        outcome = run(config, progress=lambda step, v: board.step(0, step=step, **v), say=say)
    finally:
        board.close()
    board.end(0, title, outcome)
    return code_of([outcome])


def train_study(config: Config, own: Sequence[str]) -> int:
    """The runs of a study, block after block where one depends on another."""
    console = progress.console()
    fresh: set[Path] = set()
    own = [word for word in own if not word.startswith("force=")]
    whole, runs, outcomes = False, [], []
    while not whole:
        before = len(runs)
        known = config.force and not fresh
        runs, whole = expand(config.study, own, (lambda run: None) if known else accuracy_of)
        if not whole and len(runs) == before:
            break  # runs that the next block needs did not finish
        if config.force:
            renew(runs, fresh, console)
        outcomes = run_many(runs, config.study.jobs, console)
        if code_of(outcomes) == PREEMPTED:
            break
    console.print(progress.table([r.title for r in runs], outcomes))
    code = code_of(outcomes)
    if code == PREEMPTED:
        console.print(
            f"stopped; the same command{' without force' * config.force} goes on from here"
        )
    return code


def renew(runs: Sequence[Planned], fresh: set[Path], console: Console) -> None:
    """Move the runs that lie there out of the way, each once for one command."""
    for planned in runs:
        if planned.directory not in fresh:
            set_aside(planned.directory, partial(console.print, highlight=False, markup=False))
            fresh.add(planned.directory)


def train_sweep(runs: Sequence[Planned], jobs: int | None) -> list[Outcome]:
    """The runs of a ``-m`` sweep, their table, and the exit code."""
    global exit_code
    console = progress.console()
    if any(planned.config.study.blocks for planned in runs):
        raise ValueError("-m: a study is a sweep of its own; give study=... without -m")
    if any(planned.config.force for planned in runs):
        renew(runs, set(), console)
        runs = [Planned(replace(r.config, force=False), r.varied) for r in runs]
    outcomes = run_many(runs, jobs, console)
    console.print(progress.table([r.title for r in runs], outcomes))
    exit_code = code_of(outcomes)
    return outcomes


def run_many(runs: Sequence[Planned], jobs: int | None, console: Console) -> list[Outcome]:
    """The runs, one to a process of this machine."""
    if launched_world().size > 1:
        raise ValueError("torchrun: give one experiment; a study or a sweep starts its own runs")
    return run_all(runs, progress.Board(console), jobs)


def code_of(outcomes: Sequence[Outcome]) -> int:
    """0 where all completed or diverged, 75 where one was stopped, else 1."""
    states = {o.state for o in outcomes}
    return PREEMPTED if "preempted" in states else FAILED if "failed" in states else COMPLETED


def report(composed: DictConfig) -> int:
    """Draw and judge one study, or every study that has results."""
    config, own = plain(composed), words()
    if config.study.blocks:
        report_study(config, own)
        return COMPLETED
    names = sorted(folder.name for folder in RESULTS.iterdir() if (folder / "runs.csv").exists())
    if config.out is not None or not names:
        raise ValueError("nothing to report: give study=..., for example study=fig1")
    for name in names:
        report_study(compose([f"study={name}", *own]), own)
    return COMPLETED


def report_study(config: Config, own: Sequence[str]) -> None:
    """Write the results of a study, from its runs and what is there already, and say where."""
    name = config.study.name
    if config.out is None:
        for word in own:
            if word.split("=", 1)[0] not in ANYWHERE:
                raise ValueError(
                    f"out: with {word} the study is not the one that {RESULTS.name}/{name} holds; "
                    f"give out=..., for example out={config.runs}/{name}"
                )
    out = Path(config.out or RESULTS / name)
    runs, whole = expand(config.study, own, committed_accuracy(out / results.RUNS))
    if not runs:
        raise ValueError(f"study {name}: has no runs yet; python scripts/train.py study={name}")
    members = [Member(*r.key, varied=r.varied, directory=r.directory) for r in runs]
    try:
        written = analysis.write(name, members, out)
    except OSError as error:
        raise ValueError(f"out: cannot write to {out} ({error.strerror})") from error
    for line in written.warnings:
        print(f"warning: {line}", file=sys.stderr)
    analysis.print_verdicts(written.claims, title=f"study {name}")
    if not whole:
        print(f"study {name}: a later block waits for runs; python scripts/train.py study={name}")
    print(f"Figures, tables and verdicts: {out}/README.md; runs: {config.runs}/")


def refuse_sweeps() -> None:
    """Leave where ``-m`` is asked of a script that is none of training: its launcher trains."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit(refuse(ValueError("-m: sweeps are for train.py; give study=... to this script")))


def evaluate(composed: DictConfig) -> int:
    """Evaluate finished runs, those of one experiment or of a study, and their ensemble."""
    config, console = plain(composed), progress.console()
    try:
        found = evaluation.evaluate_all(config, words(), console)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return PREEMPTED
    console.print(evaluation.table(found))
    return COMPLETED
