"""A study's prose: a template with blocks, filled in with its runs and claims.

A study is a module ``studies/<name>.py`` with one object ``STUDY``, and a template beside it,
``<name>.md.j2``, which has the words: the blocks ``title``, ``question``, ``what``, ``outcome`` (a
sentence or two), ``in_a_row`` (the outcome in a few words, for the README; without it the outcome's
first sentence), ``in_short`` (of the deviations), ``deviations``, ``findings``, ``note`` (on the
intervals) and ``caption_<figure>``. A block that presumes a verdict
names it::

    {% call given("final_accuracy_difference", "holds") %}BN ends higher.{% endcall %}

and is left out where the verdict is another, as in a user's own runs. ``make lint`` fails where
that happens to the committed results (:func:`contradicted`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta

from bn_repro.analysis import intervals
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import ENOUGH_SEEDS, Interval
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import VERDICTS
from bn_repro.analysis.study import Study, study_of
from bn_repro.analysis.tables import Runs

HERE = Path(__file__).parent
STUDIES, TEMPLATES = HERE / "studies", HERE / "templates"


def figure_names(name: str) -> list[str]:
    """The figures that the template of study ``name`` has captions for, in its order."""
    blocks = _blocks(environment(), study_of(name).prose)
    return [block.removeprefix("caption_") for block in blocks if block.startswith("caption_")]


def _blocks(templates: Environment, name: str) -> list[str]:
    """The blocks of a template, then those that only the one it extends has."""
    source = (STUDIES / name).read_text(encoding="utf-8")
    extended = meta.find_referenced_templates(templates.parse(source))
    found = [*templates.get_template(name).blocks]
    return list(dict.fromkeys(found + [b for t in extended if t for b in _blocks(templates, t)]))


@dataclass
class Prose:
    """A study's template, filled in with its runs and claims."""

    name: str
    study: Study
    runs: Runs
    claims: Sequence[Claim]
    scale: str | None = None
    """The scale that was asked for; None: the study's own."""
    left_out: list[str] = field(default_factory=list)
    """What was left out because a verdict is another: ``claim: expected verdict``."""

    def __post_init__(self) -> None:
        templates = environment()
        templates.globals["given"] = self._given
        template = templates.get_template(self.study.prose)
        context = {"name": self.name, "runs": self.runs, "claims": {c.id: c for c in self.claims}}
        context["scale"] = self.scale or "proxy"
        self._context = template.new_context(context | dict(self.study.values(self.runs)))
        next(iter(template.root_render_func(self._context)), None)  # a parent's blocks, too
        self._blocks = {name: found[0] for name, found in self._context.blocks.items()}
        self.left_out.clear()

    def _given(self, id: str, *verdicts: str, caller: Callable[[], str]) -> str:
        for verdict in verdicts:
            if verdict not in VERDICTS:
                raise ValueError(f"{self.study.prose}: {verdict!r} is not a verdict")
        found = next((claim.verdict for claim in self.claims if claim.id == id), None)
        if found in verdicts:
            return caller()
        self.left_out.append(f"{id}: written for {' or '.join(verdicts)!r}, but it is {found!r}")
        return ""

    def __getitem__(self, block: str) -> str:
        """A block's text, without blank lines around it; empty where the template has none."""
        if block not in self._blocks:
            return ""
        text = "".join(self._blocks[block](self._context))
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.M)).strip()

    @property
    def captions(self) -> dict[str, str]:
        """By figure, in the template's order."""
        names = [block for block in self._blocks if block.startswith("caption_")]
        return {name.removeprefix("caption_"): self[name] for name in names}

    def all(self) -> dict[str, str]:
        """Every block's text."""
        return {block: self[block] for block in self._blocks}


def contradicted(prose: Prose) -> list[str]:
    """What the template says of verdicts that the runs do not give."""
    prose.all()
    return list(dict.fromkeys(prose.left_out))


def environment() -> Environment:
    """What templates of markdown are read and filled in with."""
    found = Environment(
        loader=FileSystemLoader([STUDIES, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_html,
    )
    found.filters |= FILTERS
    return found


def _without_html(value: Any) -> Any:
    """What a template inserts, such as a name or a key as it was typed, is text and no HTML, and
    holds nothing that a terminal would obey."""
    if not isinstance(value, str):
        return value
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", value)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], text)


def percent(value: Any, digits: int = 1) -> str:
    """A fraction, an interval, or seeds (mean and interval) as ``97.4 % [97.3, 97.5]``.

    Of fewer seeds than an interval needs, the mean and each of them.
    """
    if isinstance(value, pd.Series | np.ndarray | list):
        if len(value) < ENOUGH_SEEDS:
            return every(value)
        found = intervals.interval(np.asarray(value, dtype=float))
        low, high = np.clip([found.low, found.high], 0, 1)  # no accuracy lies beyond
        value = Interval(found.estimate, float(low), float(high), found.n)
    if isinstance(value, Interval):
        return value.percent()
    return "-" if value is None or np.isnan(value) else f"{100 * value:.{digits}f} %"


def points(value: Any) -> str:
    """A difference of fractions, a quantity, or seeds as ``+0.53 points [+0.41, +0.65]``."""
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, pd.Series | np.ndarray | list):
        seeds = np.asarray(value, dtype=float)
        seeds = seeds[~np.isnan(seeds)]  # that one of two arms does not have
        return str(Quantity("", intervals.interval(seeds), "points", seeds=seeds.tolist()))
    if isinstance(value, Interval):
        return str(Quantity("", value, "points"))
    return f"{100 * value:+.2f} points"


def times(value: Interval) -> str:
    """A factor as ``0.84 [0.80, 0.89]``."""
    return str(Quantity("", value, "x")).replace(" x", "")


def every(values: Iterable[float], sign: bool = False) -> str:
    """Fractions of seeds, in percent or (``sign``) as differences: the mean, then each of them."""
    found = [100 * value + 0.0 for value in values if value == value]  # not NaN, not -0
    if not found:
        return "-"
    form = "{:+.2f}" if sign else "{:.1f}"
    mean = form.format(np.mean(found)) + ("" if sign else " %")
    return f"{mean} ({', '.join(map(form.format, found))})" if len(found) > 1 else mean


def count(number: int, thing: str) -> str:
    """``1 seed``, ``10 seeds``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(words: Iterable[Any]) -> str:
    """``a, b and c``."""
    known = [str(word) for word in words]
    return " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))


def table(rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first row is its head."""
    head, *others = [[" ".join(cell.split("\n")).replace("|", r"\|") for cell in r] for r in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def claims_table(claims: Iterable[Claim]) -> str:
    """Claims beside the paper's numbers, with their verdicts and reasons; markdown."""
    rows = [["claim", "section", "the paper", "here [95 % interval]", "n", "verdict"]]
    for claim in claims:
        here, verdict = str(claim.quantity), f"**{claim.verdict}**: {claim.reason}"
        rows.append(
            [claim.sentence, claim.section, claim.paper or "-", here, str(claim.n), verdict]
        )
    return table(rows)


def not_finished(missing: Sequence[str]) -> str:
    """That runs are missing, a paragraph; empty where none are."""
    if not missing:
        return ""
    return f"**Not finished:** {listed(missing)}. What follows is from the runs so far.\n"


FILTERS: dict[str, Any] = {
    "percent": percent,
    "points": points,
    "times": times,
    "every": every,
    "listed": listed,
    "not_finished": not_finished,
    "table": table,
    "claims_table": claims_table,
    "mean": lambda values: float(np.mean(values)),
    "count": count,
    "thousands": lambda value: f"{value:,.0f}",
}
"""What templates have besides Jinja's own filters."""
