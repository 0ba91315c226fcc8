"""What the scripts do once Hydra has composed: train, or report, and say how it went."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from bn_repro import door, evaluation, progress, rundir
from bn_repro import publish as publishing
from bn_repro.analysis import overview, overview_html, overview_markdown, results
from bn_repro.analysis import report as analysis
from bn_repro.analysis.load import Member
from bn_repro.build import check
from bn_repro.compose import CONFIGS, compose, plain
from bn_repro.config import Config
from bn_repro.distributed import launched_world
from bn_repro.door import COMPLETED, FAILED, PREEMPTED, refuse, words
from bn_repro.door import main as main  # for the scripts
from bn_repro.experiment import run, set_aside
from bn_repro.scheduler import Crew, failed_before, run_all
from bn_repro.study import Planned, accuracy_of, committed_accuracy, expand
from bn_repro.train import Outcome

RESULTS = CONFIGS.parent / "results"
ANYWHERE = {"study", "runs", "out", "data.root", "data.cache", "study.jobs", "device", "threads"}
ANYWHERE |= {"wandb", "wandb.dir", "wandb.project", "wandb.entity", "wandb.tags"}
"""Words that leave a study's runs the same ones."""
OF_THE_WHOLE = ("force=", "retry=", "on_failure=")
"""Words about a study, not about its runs."""

swept: list[tuple[Planned, Outcome]] = []
"""The runs of this command's sweep, which may come in batches."""


def train(composed: DictConfig) -> int:
    """One run, or the runs of a study: their exit code."""
    config = plain(composed)
    if config.study.blocks:
        launcher = HydraConfig.get().launcher
        if not launcher._target_.startswith("hydra_plugins.bn_repro_launcher."):
            raise ValueError("hydra/launcher: give cores, submitit_local or submitit_slurm")
        return train_study(config, words(), instantiate(launcher).crew(config.study.jobs))
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


def train_study(config: Config, own: Sequence[str], crew: Crew) -> int:
    """The runs of a study, block after block where one depends on another."""
    console = progress.console()
    fresh: set[Path] = set()
    left: dict[Path, Outcome] = {}
    own = [word for word in own if not word.startswith(OF_THE_WHOLE)]
    whole, over, runs, outcomes = False, False, [], []
    while not whole and not over:
        before = len(runs)
        known = config.force and not fresh
        runs, whole = expand(config.study, own, (lambda run: None) if known else accuracy_of)
        if not whole and len(runs) == before:
            break  # runs that the next block needs did not finish
        if config.force:
            renew(runs, fresh, console)
        if not config.retry:
            left |= failed_before(runs)
        outcomes = run_many(runs, crew, console, config.on_failure, left)
        left |= {r.directory: o for r, o in zip(runs, outcomes, strict=True) if o.state == "failed"}
        over = is_over(outcomes, config.on_failure)
    tell(runs, outcomes, console)
    code = code_of(outcomes, config.on_failure)
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


def train_sweep(runs: Sequence[Planned], crew: Crew) -> tuple[list[Outcome], bool]:
    """The runs of a ``-m`` sweep, or of a batch of it; and whether no other batch may follow."""
    console = progress.console()
    if not runs:
        raise ValueError("-m: nothing to run; what was given stands for no value at all")
    if any(planned.config.study.blocks for planned in runs):
        raise ValueError("-m: a study is a sweep of its own; give study=... without -m")
    asked = runs[0].config
    plain = {"force": False, "retry": False, "on_failure": "continue"}
    runs = [replace(planned, config=replace(planned.config, **plain)) for planned in runs]
    if asked.force:
        renew(runs, set(), console)
    left = {} if asked.retry else failed_before(runs)
    outcomes = run_many(runs, crew, console, asked.on_failure, left)
    if door.last_words is None:
        swept.clear()
    swept.extend(zip(runs, outcomes, strict=True))
    all_runs, all_outcomes = zip(*swept, strict=True)
    door.exit_code = code_of(all_outcomes, asked.on_failure)
    door.last_words = partial(tell, all_runs, all_outcomes, console)
    return outcomes, is_over(outcomes, asked.on_failure)


def run_many(
    runs: Sequence[Planned],
    crew: Crew,
    console: Console,
    on_failure: str,
    left: Mapping[Path, Outcome],
) -> list[Outcome]:
    """The runs, each by itself, but those that are finished or ``left`` alone."""
    if launched_world().size > 1:
        raise ValueError("torchrun: give one experiment; a study or a sweep starts its own runs")
    return run_all(runs, progress.Board(console), crew, on_failure=on_failure, left=left)


def tell(runs: Sequence[Planned], outcomes: Sequence[Outcome], console: Console) -> None:
    """The table of the runs, and what can be done about those that failed."""
    console.print(progress.table([r.title for r in runs], outcomes))
    failed = failed_before(runs)
    if failed:
        console.print(
            f"{len(failed)} failed; {next(iter(failed))}/{rundir.TRACEBACK} tells why; "
            "retry=true tries again",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def is_over(outcomes: Sequence[Outcome], on_failure: str) -> bool:
    """Whether a signal, or a failure, ended more than its own run."""
    states = {o.state for o in outcomes}
    return "preempted" in states or (on_failure == "stop" and "failed" in states)


def code_of(outcomes: Sequence[Outcome], on_failure: str = "continue") -> int:
    """0 where all completed or diverged, 75 where one was stopped, else 1."""
    states = {o.state for o in outcomes}
    if "failed" in states and (on_failure == "stop" or "preempted" not in states):
        return FAILED
    return PREEMPTED if "preempted" in states else COMPLETED


def report(composed: DictConfig) -> int:
    """Draw and judge one study; or every study that has results, and then all of them together."""
    config, own = plain(composed), words()
    if config.study.blocks:
        report_study(config, own)
        if config.out is None:
            print("make report tells it in README.md and in results/REPORT.md")
        return COMPLETED
    if config.out is not None:
        raise ValueError(f"out: is for one study; give study=... with out={config.out}")
    root, names = RESULTS.parent, studies_with_results()
    overview_markdown.around(root)  # before the work: a README without marks is refused
    told = [report_study(compose([f"study={name}", *own]), own) for name in names]
    written = [*overview_markdown.write(root, told), overview_html.write(root, told)]
    print("All studies:", ", ".join(str(path.relative_to(root)) for path in written))
    return COMPLETED


def studies_with_results() -> list[str]:
    """The folders under results/; ValueError where there is none, or one that cannot be told."""
    names = []
    for folder in sorted(RESULTS.iterdir()) if RESULTS.is_dir() else ():
        kept = [name for name in (results.RUNS, results.CLAIMS) if (folder / name).exists()]
        if kept and results.RUNS not in kept:
            raise ValueError(f"{folder}: {kept[0]} without {results.RUNS}; restore it from git")
        if kept and not (CONFIGS / "study" / f"{folder.name}.yaml").exists():
            raise ValueError(
                f"{folder}: no study of this name in {CONFIGS / 'study'}; name the folder as its "
                "study, or move it out of results/"
            )
        names += [folder.name] if kept else []
    if not names:
        raise ValueError(
            f"nothing to report: no study has a {results.RUNS} under {RESULTS}; train one, and "
            "report it: python scripts/train.py study=fig1; python scripts/report.py study=fig1"
        )
    return names


def report_study(config: Config, own: Sequence[str]) -> overview.Told:
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
    kept = {member.key for member in results.read(out, name).members}
    try:
        accuracy = committed_accuracy(out / results.RUNS)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{out / results.RUNS}: not rows of runs ({error}); {results.MEND}"
        ) from None
    runs, whole = expand(config.study, own, accuracy)
    if not runs:
        raise ValueError(f"study {name}: has no runs yet; python scripts/train.py study={name}")
    members = [Member(*r.key, varied=r.varied, directory=r.directory) for r in runs]
    others = kept - {m.key for m in members}
    if others:
        first = "{}-{} seed {}".format(*min(others))
        print(
            f"warning: {out / results.RUNS}: {len(others)} of its rows are of no run that study "
            f"{name} has now ({first}); they are left out",
            file=sys.stderr,
        )
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
    publishing.show_report(config, name, out)
    return overview.read(name, out, members, written.claims, whole)


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


def publish(composed: DictConfig) -> int:
    """Send finished records to W&B: of an experiment, a study, or all under the runs directory."""
    whole = publishing.publish_all(plain(composed), words(), progress.console())
    return COMPLETED if whole else FAILED
