"""Write a study's figures, tables and verdicts, or those of your own runs.

bn-repro report fig1
bn-repro report fig1 seeds=5 out=runs/fig1
bn-repro report runs=runs out=runs/report     all runs of a folder

In a checkout, a study's report lies in results/ unless out= names a folder, and without study= and
out= all of results/ is made anew. Elsewhere reports lie beside the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bn_repro.analysis import overview, report, results, summary
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.load import discover
from bn_repro.analysis.prose import contradicted, count
from bn_repro.analysis.summary import Report
from bn_repro.analysis.tables import Member
from bn_repro.cli import COMPLETED
from bn_repro.cli.main import overrides
from bn_repro.cli.overrides import own_folder
from bn_repro.config.compose import compose
from bn_repro.config.schema import SETTINGS, Config
from bn_repro.records.paths import CHECKOUT, CONFIGS, RESULTS
from bn_repro.sweep.planned import accuracy_or_reported, rows_of
from bn_repro.sweep.study import expand
from bn_repro.tracking import publish

COLORS = {"holds": "green", "does not hold": "red", "undecided": "yellow", "not testable": "dim"}


def main(config: Config) -> int:
    """Report one study; with ``out=`` alone all runs of a directory; else all of results/, where
    there is a checkout to have one."""
    own = overrides()
    _check_folders(config)
    if config.study.blocks:
        report_study(config, own)
        if _committed_as(config) is not None:
            print("make report adds it to README.md and results/REPORT.md")
        return COMPLETED
    if config.out is None and CHECKOUT is None:
        config = replace(config, out=str(Path(config.runs) / "report"))
    if config.out is not None:
        report_runs(config, own)
        return COMPLETED
    root, names = RESULTS.parent, studies_with_results()
    overview.around(root)  # before the work: a README without marks is refused
    reports = [report_study(compose([f"study={name}", *own]), own) for name in names]
    written = overview.write(root, reports)
    print("All studies:", ", ".join(str(path.relative_to(root)) for path in written))
    return COMPLETED


def _check_folders(config: Config) -> None:
    """ValueError for ``runs`` of one's own that are not there, and an ``out`` that is a file."""
    if config.runs != SETTINGS["runs"].default and not Path(config.runs).is_dir():
        raise ValueError(f"runs: no folder {config.runs}; give the one that the runs are in")
    if config.out is not None and Path(config.out).exists() and not Path(config.out).is_dir():
        raise ValueError(f"out: {config.out} is a file; give a folder")


def studies_with_results() -> list[str]:
    """The folders under results/; ValueError where there is none, or one that is no study's."""
    names = []
    for folder in sorted(RESULTS.iterdir()) if RESULTS.is_dir() else ():
        kept = [name for name in (results.RUNS, results.CLAIMS) if (folder / name).exists()]
        if kept and results.RUNS not in kept:
            raise ValueError(f"{folder}: {kept[0]} without {results.RUNS}; restore it from git")
        if kept and not (CONFIGS / "study" / f"{folder.name}.yaml").exists():
            raise ValueError(
                f"{folder}: no study of this name in {CONFIGS / 'study'}; rename the folder to "
                "its study, or move it out of results/"
            )
        names += [folder.name] if kept else []
    if not names:
        raise ValueError(
            f"nothing to report: no study has a {results.RUNS} under {RESULTS}; train one, and "
            "report it: bn-repro train study=fig1; bn-repro report study=fig1"
        )
    return names


def report_study(config: Config, own: Sequence[str]) -> Report:
    """Write the results of a study, from its runs and what is there already, and print where."""
    name = config.study.name
    changing = [word for word in own if word.split("=", 1)[0] not in summary.SAME_RUNS]
    committed = _committed_as(config)
    if committed is not None and changing:
        raise ValueError(
            f"out: {changing[0]} makes another study than that of {RESULTS.name}/{name}; "
            f"give out=..., for example out={config.runs}/{name}"
        )
    out = committed or Path(config.out or Path(config.runs) / name)
    members, complete = _members(config, own, out)
    kept = {member.key for member in results.read(out, name).members}
    others = kept - {member.key for member in members}
    if others:
        first = "{}-{} seed {}".format(*min(others))
        _warn(
            f"{out / results.RUNS}: {len(others)} of its rows are of no run that study {name} has "
            f"now ({first}); they are left out"
        )
    typed = _as_typed(x for x in own if not x.startswith("study=")) if committed is None else []
    written = _write(name, members, out, complete, typed)
    if not complete:
        command = summary.training_command(name, _as_typed(own))
        print(f"study {name}: a later block waits for runs; run {command}")
    _print_where(written, out, config)
    publish.publish_report(config, name, out)
    return written


def _as_typed(own: Iterable[str]) -> list[str]:
    """The overrides, behind the folder of the user's own configurations, where one was named."""
    folder = own_folder(sys.argv[1:])
    return [*([f"--config-dir={folder}"] if folder else []), *own]


def _committed_as(config: Config) -> Path | None:
    """The study's folder under results/, where its report goes; None where that lies elsewhere:
    out= names it, there is no checkout, or the study is not one of the checkout's own."""
    name = config.study.name
    ours = (CONFIGS / "study" / f"{name}.yaml").exists() and CHECKOUT is not None
    return RESULTS / name if ours and config.out is None else None


def report_runs(config: Config, own: Sequence[str]) -> Report:
    """Write a report on all finished runs of a directory, which no study asked for."""
    assert config.out is not None
    warnings: list[str] = []
    members = discover(config.runs, warnings)
    for line in warnings:
        _warn(line)
    written = _write("", members, Path(config.out), True, own)
    _print_where(written, Path(config.out), config)
    return written


def _members(config: Config, own: Sequence[str], out: Path) -> tuple[list[Member], bool]:
    """The study's planned runs, and whether these are all: a block may wait for another."""
    accuracy = accuracy_or_reported(rows_of(out / results.RUNS))
    runs, complete = expand(config.study, own, accuracy)
    if not runs:
        name = config.study.name
        command = summary.training_command(name, _as_typed(own))
        raise ValueError(f"study {name}: has no runs yet; {command}")
    return [Member(*r.key, r.varied, r.directory, "+".join(r.blocks)) for r in runs], complete


def _write(
    name: str, members: Sequence[Member], out: Path, complete: bool, own: Sequence[str]
) -> Report:
    try:
        written = report.write(name, members, out, complete=complete, overrides=own)
    except OSError as error:
        raise ValueError(f"out: cannot write to {out} ({error.strerror})") from error
    for line in written.warnings:
        _warn(line)
    return written


def _print_where(written: Report, out: Path, config: Config) -> None:
    print_verdicts(written)
    most = max((claim.n for claim in written.claims), default=ENOUGH_SEEDS)
    if most < ENOUGH_SEEDS:
        seeds = min(5, max(len(block.get("seed", [])) for block in config.study.blocks))
        by_make = f"; SEEDS={seeds} with make" if CHECKOUT is not None else ""
        more = f": give more (study.seeds={seeds}{by_make})"
        print(f"With {count(most, 'seed')} nothing is decided{more * (seeds >= ENOUGH_SEEDS)}")
    pictures = ", ".join(f"{out}/{figure}.svg" for figure in written.figures[:1])
    places = [f"Figure: {pictures or 'none'}", f"tables and verdicts: {out}/README.md"]
    if any(m.directory and m.directory.exists() for m in written.runs.members):
        places.append(f"runs: {config.runs}/")
    print("; ".join(places))


def print_verdicts(report: Report) -> None:
    """The claims as a table in the terminal."""
    if not report.claims:
        return
    shown = Table()
    for name, ratio in (("claim", 3), ("here [95 %]", 2), ("verdict", 2)):
        shown.add_column(name, ratio=ratio)
    for claim in report.claims:
        color, reason = COLORS[claim.verdict], escape(claim.reason)
        verdict = f"[{color}]{claim.verdict}[/{color}]: {reason}"
        shown.add_row(claim.sentence, escape(f"{claim.quantity} (n = {claim.n})"), verdict)
    print(f"study {report.name}")
    Console().print(shown)


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def committed() -> list[Report]:
    """What lies under results/, each study's claims judged anew; nothing is written."""
    found = []
    for name in studies_with_results():
        members, complete = _members(compose([f"study={name}"]), [], RESULTS / name)
        found.append(report.read(name, RESULTS / name, members, complete=complete))
    return found


def contradicted_prose() -> list[str]:
    """What templates say of verdicts that the committed results do not give; for ``make lint``."""
    return [f"{found.name}: {line}" for found in committed() for line in contradicted(found.prose)]
