"""What is told of all studies at once, in ``overview_markdown`` and in ``overview_html``.

What is told of one comes from its module (``TITLE``, ``WHAT``, and where it has them
``summary(data)``, ``CAPTIONS`` of its figures and ``IN_SHORT``, its deviations in a sentence), from
its files, and from ``paper``. A study that is new under ``results/`` is told without being named
here; ``paper.STUDIES`` has the order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bn_repro import paper
from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import readme, results, studies, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.tables import Member, StudyData

NOTE = (
    "Ours are estimates with 95 % bootstrap intervals, over n seeds where the study does not say "
    "otherwise; fewer than 3 seeds decide nothing. `-`: the paper gives no number; "
    f"{claim_files.LEGEND}"
)


@dataclass(frozen=True)
class Told:
    """One study's results, as its files hold them."""

    study: Any
    data: StudyData
    claims: Sequence[Claim]
    figures: Sequence[str]
    whole: bool
    """Whether all of the study's runs are known: a later block may wait for those of an earlier."""

    @property
    def name(self) -> str:
        """The study's, and its folder's."""
        return self.data.name

    @property
    def title(self) -> str:
        """What it is about."""
        return readme.title(self.study, self.name)

    @property
    def planned(self) -> int:
        """How many runs it has, as far as they are known."""
        return len({member.key for member in self.data.members})

    @property
    def finished(self) -> bool:
        """Whether all of its runs are in."""
        return self.whole and len(self.data.runs) == self.planned

    @property
    def runs(self) -> str:
        """``20 runs``, or ``4 of 27 runs``."""
        if self.finished:
            return f"{self.planned} run{'' if self.planned == 1 else 's'}"
        least = "" if self.whole else "at least "
        return f"{len(self.data.runs)} of {least}{self.planned} runs"

    @property
    def cost(self) -> str:
        """``20 runs, 48 s a run (median), 17.3 minutes in all (cpu, ...)``."""
        devices = "; ".join(readme.recorded(self.data, "device"))
        parts = [self.runs, readme.time_in_words(self.data)]
        return ", ".join(filter(None, parts)) + (f" ({devices})" if devices else "")

    @cached_property
    def summary(self) -> str:
        """What came out, in a few sentences; empty where the module has none."""
        return self.study.summary(self.data) if hasattr(self.study, "summary") else ""

    @property
    def said(self) -> paper.Said | None:
        """What the paper has on the subject."""
        return paper.STUDIES.get(self.name)

    @property
    def deviations(self) -> str:
        """In a sentence: the module's own, or the first of its list."""
        first = self.study.DEVIATIONS.split("\n- ")[0].removeprefix("- ")
        return getattr(self.study, "IN_SHORT", "" if first.startswith("|") else first)

    @property
    def commits(self) -> str:
        """Of the code that trained."""
        return ", ".join(readme.recorded(self.data, "commit")) or "not recorded"

    @property
    def arms(self) -> str:
        """A table of its runs by setting, or how many settings there are; markdown."""
        return readme.arms(self.data).replace(f"[`{results.RUNS}`]({results.RUNS})", "`runs.csv`")


class Row(NamedTuple):
    """A claim as it is told: the paper's number and ours."""

    sentence: str
    section: str
    paper: str
    here: str
    n: str
    verdict: str


class Shown(NamedTuple):
    """A figure: its file's name, what it shows, and what the paper shows."""

    name: str
    caption: str
    paper: str


def read(
    name: str,
    folder: Path,
    members: Sequence[Member],
    claims: Sequence[Claim],
    whole: bool = True,
) -> Told:
    """What a study's folder holds, its claims as they were just judged.

    ``claims.json`` knows no infinity, so claims do not come from there.
    """
    study = studies.module_of(name)
    data = results.of_members(results.read(folder, name), members)
    extra = getattr(study, "EXTRA", "")
    if extra:
        data.extra = results.read_extra(folder / extra)
    found = sorted(path.stem for path in folder.glob("figure*.svg"))
    order = list(getattr(study, "CAPTIONS", ()))
    figures = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return Told(study, data, claims, figures, whole)


def in_order(told: Sequence[Told]) -> list[Told]:
    """As the paper has them: Figure 1 first; those that it knows nothing of last, by name."""
    order = {name: place for place, name in enumerate(paper.STUDIES)}
    return sorted(told, key=lambda t: (order.get(t.name, len(order)), t.name))


def rows(told: Told) -> list[Row]:
    """The study's claims. Where a sentence carries the paper's number, it moves to its column."""
    found = []
    for c in told.claims:
        carried = re.search(r" \(paper: ([^()]*)\)", c.sentence)
        printed = paper.CLAIMS.get(told.name, {}).get(c.id) or (carried[1] if carried else "-")
        sentence = c.sentence.replace(carried[0], "") if carried else c.sentence
        here = claim_files.shown(c.id, c.estimate, c.low, c.high)
        found.append(Row(sentence, c.section, printed, here, str(c.n), c.verdict))
    return found


def shown(told: Told) -> list[Shown]:
    """The study's figures beside the paper's."""
    captions, found = getattr(told.study, "CAPTIONS", {}), []
    for name in told.figures:
        words = re.sub(r"^figure\d*_?", "", name).replace("_", " ")
        said = paper.FIGURES.get(name)
        found.append(
            Shown(
                name,
                captions.get(name, f"{told.title}{f' ({words})' if words else ''}."),
                f"{said.section}. {said.words}" if said else "No such figure.",
            )
        )
    return found


def count_verdicts(told: Sequence[Told]) -> dict[str, int]:
    """How many claims hold, do not hold, and are undecided."""
    verdicts = [claim.verdict for t in told for claim in t.claims]
    return {word: verdicts.count(word) for word in ("holds", "does not hold", "undecided")}


def verdicts_in_words(told: Sequence[Told]) -> str:
    """``Of 19 claims 7 hold, 0 do not, 12 are undecided.``"""
    holds, fails, open_ = count_verdicts(told).values()
    claims = style.count(holds + fails + open_, "claim")
    return (
        f"Of {claims} {holds} hold{'s' * (holds == 1)}, {fails} "
        f"do{'es' * (fails == 1)} not, {open_} {'is' if open_ == 1 else 'are'} undecided."
    )


def behind(told: Sequence[Told]) -> str:
    """``Behind them are 86 runs of 3 studies, 2.8 hours of training.`` A run that two studies have
    counts once."""
    runs = pd.concat([t.data.runs for t in told]).drop_duplicates(tables.KEY)
    studies = f"{len(told)} stud{'y' if len(told) == 1 else 'ies'}"
    hours = runs["seconds"].sum() / 3600
    return f"Behind them are {len(runs)} runs of {studies}, {hours:.1f} hours of training."
