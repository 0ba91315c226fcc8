"""One study's results as a folder of files: its rows, its figures, its claims, its README.

A report is written from what lies in the folder already and from the runs found; its figures,
claims and prose see only what the files hold. So a report on committed rows changes no byte.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import intervals, results, steps_to, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.study import Prose, Study, _environment, count, every, study_of
from bn_repro.analysis.tables import RUN_COLUMNS, BadInput, Member, Runs
from bn_repro.records.paths import CONFIGS

FOLDER = "data.root=FOLDER"
"""As the heads of the studies' files have it."""
SAME_RUNS = {"study", "runs", "out", "data.root", "data.cache", "study.jobs", "device", "threads"}
SAME_RUNS |= {"wandb", "wandb.dir", "wandb.project", "wandb.entity", "wandb.tags"}
"""The keys whose overrides leave a study's runs the same ones."""
MOST_ARMS = 24
"""The table of arms is left out where there are more settings than this."""


@dataclass(frozen=True)
class Report:
    """A study's results, as its folder holds them."""

    name: str
    study: Study
    runs: Runs
    claims: Sequence[Claim]
    prose: Prose
    figures: Sequence[str]
    """Their names, in the order of the template's captions."""
    complete: bool = True
    """Whether all of its runs are known; a later block may wait for the runs of an earlier one."""
    overrides: Sequence[str] = ()
    """What was asked for besides the study; for the committed results, nothing."""
    warnings: Sequence[str] = field(default=(), repr=False)

    @property
    def title(self) -> str:
        """What it is about."""
        return self.prose["title"] or (f"Study {self.name}" if self.name else "Runs")

    @property
    def planned(self) -> int:
        """How many runs it has, as far as they are known."""
        return len({member.key for member in self.runs.members})

    @property
    def finished(self) -> bool:
        """Whether all of its runs are in."""
        return self.complete and len(self.runs.runs) == self.planned

    @property
    def count(self) -> str:
        """``20 runs``, or ``4 of 27 runs``."""
        if self.finished:
            return count(self.planned, "run")
        least = "" if self.complete else "at least "
        return f"{len(self.runs.runs)} of {least}{self.planned} runs"

    @property
    def commands(self) -> list[str]:
        """The command lines that make this report, with the overrides as they were typed."""
        report = "python scripts/report.py"
        if not self.name:
            return [f"{report} {shlex.join(self.overrides)}"]
        between = self.study.extra.commands if self.study.extra else ()
        found = [training_command(self.name, self.overrides)]
        found += [
            f"{line} {shlex.join(_of_the_runs(self.name, self.overrides))}" for line in between
        ]
        found.append(f"{report} study={self.name} {shlex.join(self.overrides)}")
        return [line.rstrip() for line in found]

    @property
    def changed(self) -> list[str]:
        """The overrides that make these runs differ from the committed study's."""
        return [x for x in self.overrides if self.name and _key(x) not in SAME_RUNS]

    @property
    def cost(self) -> str:
        """``48 s a run (median), 17.3 minutes in all``; empty where no time was recorded."""
        seconds = self.runs.runs["seconds"].dropna().tolist()
        if not seconds:
            return ""
        minutes, one = sum(seconds) / 60, median(seconds)
        total = f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"
        total = total if minutes >= 1 else f"{sum(seconds):.0f} s"
        each = f"{one:.0f} s" if one < 120 else f"{one / 60:.0f} minutes"
        return f"{each} a run (median), {total} in all"

    def recorded(self, column: str) -> str:
        """The distinct values of ``device``, ``commit`` or ``engine``, where they were recorded."""
        found = sorted({str(v) for v in self.runs.runs[column].tolist() if v})
        return ", ".join(found) or "not recorded"

    @property
    def files(self) -> list[str]:
        """The tables in its folder."""
        kept = [results.RUNS, results.CURVES]
        kept += [] if self.runs.traces.empty else [results.TRACES]
        return kept + ([self.study.extra.file] if self.study.extra else [])

    @property
    def seeds(self) -> str:
        """How many seeds a setting has: ``3``, ``3 to 10``."""
        counts = self.runs.runs.groupby(["experiment", "id"]).size().tolist()
        most = f" to {max(counts)}" if max(counts) > min(counts) else ""
        return f"{min(counts)}{most}"

    @property
    def settings(self) -> int:
        """The number of settings: runs that differ in their seeds alone count as one."""
        return self.runs.runs.groupby(["experiment", "id"]).ngroups

    @property
    def arms(self) -> list[list[str]]:
        """A table of the runs by setting, its head first; empty where there are too many."""
        return arms_table(self.runs) if self.settings <= MOST_ARMS else []

    @property
    def note(self) -> str:
        """On the intervals: the template's own, or what holds for all."""
        fewest = min((claim.n for claim in self.claims), default=0)
        note = "Intervals are 95 % bootstrap intervals over seeds; n is the number of seeds."
        note = self.prose["note"] or note
        if fewest < claim_files.ENOUGH_SEEDS:
            note += f" Fewer than {claim_files.ENOUGH_SEEDS} seeds decide nothing."
        elif fewest < 5:
            note += (
                " With fewer than 5 seeds an interval is the range of what resampling them can "
                f"give, and covers less than 95 %; [`{results.RUNS}`]({results.RUNS}) has every "
                "seed."
            )
        return note


def training_command(name: str, overrides: Sequence[str]) -> str:
    """What trains the runs of a study as they were asked for."""
    words = _of_the_runs(name, overrides)
    return shlex.join(["python", "scripts/train.py", f"study={name}", *words])


def _of_the_runs(name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides that concern the runs, with a place for the folder that the study's own command
    names, where neither it nor other data were given."""
    found = [override for override in overrides if _key(override) not in ("study", "out")]
    own = CONFIGS / "study" / f"{name}.yaml"
    given = {"data", "data.root", "scale"} & {_key(override) for override in found}
    needed = not given and own.is_file() and FOLDER in own.read_text(encoding="utf-8")
    return [*found, *([FOLDER] if needed else [])]


def _key(override: str) -> str:
    return override.split("=", 1)[0]


def write(
    name: str,
    members: Sequence[Member],
    out: str | Path,
    *,
    complete: bool = True,
    overrides: Sequence[str] = (),
) -> Report:
    """Write the study's results into ``out``: what lies there already, and the runs found.

    A finished run that is found replaces the row of the same (experiment, id, seed); rows that are
    no members of the study are dropped. Raises ``BadInput`` where there is nothing to report, and
    for runs of two engines.
    """
    study, folder = study_of(name), Path(out)
    found = tables.load(members, name=name, traces=study.traces)
    data = results.merge(results.read(folder, name), tables.finished(found), members)
    if data.runs.empty:
        raise BadInput(
            f"study {name}: none of its {len(members)} runs is finished, and {folder} has "
            f"no rows of them; train them with: {training_command(name, overrides)}"
        )
    engines = sorted({engine or "eager" for engine in data.runs["engine"]})
    if len(engines) > 1:
        raise BadInput(
            f"study {name}: its runs used several engines ({', '.join(engines)}), whose numbers "
            "differ in their last digits; train all with one (train.engine=... force=true), or "
            "report them elsewhere (out=...)"
        )
    _write_rows(study, data, members, folder)
    report = read(name, folder, members, complete=complete, overrides=overrides)
    figures = study.figures(report.runs)
    _draw(study, figures, folder, name)
    order = list(report.prose.captions)
    names = sorted(figures, key=lambda f: order.index(f) if f in order else len(order))
    report = replace(report, figures=names, warnings=data.warnings)
    results.write(folder / results.CLAIMS, claim_files.to_json(report.claims))
    text = _environment().get_template("study.md.j2").render(report=report)
    results.write(folder / results.README, text)
    return report


def read(
    name: str,
    folder: Path,
    members: Sequence[Member],
    *,
    complete: bool = True,
    overrides: Sequence[str] = (),
) -> Report:
    """The results that lie in ``folder``, their claims judged anew."""
    study = study_of(name)
    data = results.of_members(results.read(folder, name), members)
    if study.extra:
        data.extra = results.read_extra(folder / study.extra.file)
    claims = list(study.claims(data))
    scale = next((x.removeprefix("scale=") for x in overrides if _key(x) == "scale"), None)
    prose = Prose(name, study, data, claims, scale)
    order = list(prose.captions)
    drawn = sorted(path.stem for path in folder.glob("figure*.svg"))
    drawn = sorted(drawn, key=lambda f: order.index(f) if f in order else len(order))
    return Report(name, study, data, claims, prose, drawn, complete, overrides)


def _write_rows(study: Study, data: Runs, members: Sequence[Member], folder: Path) -> None:
    """The study's tables, as far as they have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    data.runs = results.with_steps_to(data, study.targets_of(data))
    frames = {results.RUNS: data.runs, results.CURVES: data.curves}
    if study.traces:
        frames[results.TRACES] = study.keep(data) if study.keep else data.traces
    if study.extra:
        file = study.extra.file
        frames[file] = study.extra.rows(members, results.read_extra(folder / file))
    for file, frame in frames.items():
        results.write(folder / file, results.to_csv(frame, file))


def _draw(study: Study, figures: Any, folder: Path, name: str) -> None:
    """Save the figures that have changed, and remove those that the study no longer draws."""
    digest = _digest(folder, study, name)
    with style.context():
        for stem, figure in figures.items():
            style.save(figure, folder / stem, digest)
    for stale in (*folder.glob("figure*.svg"), *folder.glob("figure*.png")):
        if stale.stem not in figures:
            stale.unlink()


def _digest(folder: Path, study: Study, name: str) -> str:
    """What the figures are drawn from: the rows, and the code that draws (comments aside)."""
    digest = hashlib.sha256()
    files = [results.RUNS, results.CURVES, results.TRACES]
    for file in (*files, study.extra.file if study.extra else ""):
        path = folder / file
        if path.is_file():
            content = path.read_bytes()
            digest.update(gzip.decompress(content) if path.suffix == ".gz" else content)
    module = importlib.import_module(study.figures.__module__)
    drawing = {"panels", "style", "movement", "grids", "ensembles"}
    used = {v.__name__ for v in vars(module).values() if hasattr(v, "__file__")}
    used |= {getattr(v, "__module__", "") for v in vars(module).values()}
    own, shared = f"{tables.__package__}.studies.", {f"{tables.__package__}.{n}" for n in drawing}
    names = {n for n in used if n.startswith(own) or n in shared}
    for part in sorted(names | {module.__name__}):
        source = importlib.import_module(part).__file__ or ""
        lines = Path(source).read_text(encoding="utf-8").splitlines()
        code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        digest.update("\n".join(code).encode())
    return f"sha256:{digest.hexdigest()[:32]}"


def arms_table(data: Runs) -> list[list[str]]:
    """A row per experiment and variation: seeds, accuracies, steps to the targets; a head first."""
    columns = {str(name): data.runs[name].tolist() for name in data.runs}
    targets = [name for name in columns if name.startswith("steps_to_")]
    varied = [
        name
        for name, values in columns.items()
        if name not in RUN_COLUMNS and name not in targets and len({str(v) for v in values}) > 1
    ]
    head = ["experiment", *varied, "seeds", "final top-1", "best top-1"]
    head += [f"steps to {100 * float(name.removeprefix('steps_to_')):g} %" for name in targets]
    arms: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for values in zip(*columns.values(), strict=True):
        run = dict(zip(columns, values, strict=True))
        arms.setdefault((run["experiment"], run["id"]), []).append(run)
    return [head, *(_arm(runs, varied, targets) for runs in arms.values())]


def _arm(runs: list[dict[str, Any]], varied: list[str], targets: list[str]) -> list[str]:
    diverged = sum(run["state"] == "diverged" for run in runs)
    last = max(run["step"] for run in runs)
    steps = [steps_to.median_steps([run[name] for run in runs]) for name in targets]
    return [
        f"`{runs[0]['experiment']}`",
        *("" if _missing(runs[0][key]) else str(runs[0][key]) for key in varied),
        f"{len(runs)}" + (f" ({diverged} diverged)" if diverged else ""),
        _accuracy([run["final_top1"] for run in runs]),
        _accuracy([run["best_top1"] for run in runs]),
        *("never" if diverged == len(runs) else steps_to.shown(m, last) for m in steps),
    ]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _accuracy(values: Sequence[float]) -> str:
    """The mean with its interval, or with every point where these are few."""
    known = [value for value in values if not _missing(value)]
    return every(known) if 1 < len(known) < 5 else intervals.interval(known).percent()


def print_verdicts(report: Report) -> None:
    """The claims as a table in the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not report.claims:
        return
    colors = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
    shown = Table()
    for name, ratio in (("claim", 3), ("here [95 %]", 2), ("verdict", 2)):
        shown.add_column(name, ratio=ratio)
    for claim in report.claims:
        color, reason = colors[claim.verdict], escape(claim.reason)
        verdict = f"[{color}]{claim.verdict}[/{color}]: {reason}"
        shown.add_row(claim.sentence, escape(f"{claim.quantity} (n = {claim.n})"), verdict)
    print(f"study {report.name}")
    Console().print(shown)


def distinct_runs(reports: Sequence[Report]) -> pd.DataFrame:
    """The runs behind several studies; one that two studies have counts once."""
    return pd.concat([r.runs.runs for r in reports]).drop_duplicates(tables.KEY)
