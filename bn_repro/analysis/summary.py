"""One study's results, as its folder holds them: what its pages say of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import pandas as pd

from bn_repro.analysis import results
from bn_repro.analysis.arms import arms_table
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import Prose, count
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import KEY, Runs
from bn_repro.records.paths import CONFIGS

SAME_RUNS = {"study", "runs", "out", "data.root", "data.cache", "study.jobs", "device", "threads"}
SAME_RUNS |= {"study.skip_reported", "train.engine", "--config-dir"}
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
    weights: Sequence[str] = ()
    """The files of trained networks in its folder."""
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
        report = "bn-repro report"
        if not self.name:
            return [f"{report} {shlex.join(self.overrides)}"]
        between = self.study.extra.commands if self.study.extra else ()
        found = [training_command(self.name, self.overrides)]
        words = shlex.join(_of_the_runs(self.name, self.overrides))
        found += [f"{line} {words}" for line in between]
        out = [] if any(_key(x) == "out" for x in self.overrides) else [f"out=runs/{self.name}"]
        found.append(f"{report} {shlex.join([f'study={self.name}', *self.overrides, *out])}")
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
        kept += [] if self.runs.probes.empty else [results.PROBES]
        kept += [] if self.runs.histograms.empty else [results.HISTOGRAMS]
        kept += [] if self.runs.correct.empty else [results.CORRECT]
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
    def computed(self) -> dict[str, list[str]]:
        """What was computed, with the ids of the claims for which it was."""
        found: dict[str, list[str]] = {}
        for claim in self.claims:
            found.setdefault(claim.computed, []).append(claim.id)
        return found

    @property
    def note(self) -> str:
        """On the intervals: the template's own, or what holds for all."""
        own = self.prose["note"]
        usual = "Intervals are 95 % intervals over n seeds; *What was computed* says of which kind."
        note = own or usual
        if not own and any("over images" in claim.computed for claim in self.claims):
            note += (
                " Where a claim's interval is over images too, that of the same quantity elsewhere "
                "on this page may be over seeds alone, and narrower."
            )
        if min((claim.n for claim in self.claims), default=0) < ENOUGH_SEEDS:
            few = f" With fewer than {ENOUGH_SEEDS} seeds there are single values, and"
            note += f"{few} the claim is undecided."
        return note


def training_command(name: str, overrides: Sequence[str]) -> str:
    """What trains the runs of a study as they were asked for."""
    words = _of_the_runs(name, overrides)
    return shlex.join(["bn-repro", "train", f"study={name}", *words])


def _of_the_runs(name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides but ``study`` and ``out``, and those of the command in the study's file: of
    these ``data.root`` only where neither ``data`` nor ``scale`` is given."""
    found = [override for override in overrides if _key(override) not in ("study", "out")]
    given = {_key(override) for override in found}
    given |= {"data.root"} if given & {"data", "scale"} else set()
    own = CONFIGS / "study" / f"{name}.yaml"
    text = own.read_text(encoding="utf-8") if own.is_file() else ""
    said = re.search(rf"^# Command: +bn-repro train study={re.escape(name)}(.*)$", text, re.M)
    usual = shlex.split(said[1]) if said else []
    return [*found, *(word for word in usual if _key(word) not in given)]


def _key(override: str) -> str:
    return override.split("=", 1)[0]


def distinct_runs(reports: Sequence[Report]) -> pd.DataFrame:
    """The runs behind several studies; one that two studies have counts once."""
    return pd.concat([r.runs.runs for r in reports]).drop_duplicates(KEY)
