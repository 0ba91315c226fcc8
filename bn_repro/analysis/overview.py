"""All studies at once: ``results/REPORT.md``, ``report.html``, ``claims.csv``, the README's rows.

What is said of one study comes from its template and its files; a study that is new under
``results/`` takes part without being named here. ``paper.STUDIES`` has the order.
"""

from __future__ import annotations

import base64
import csv
import io
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markupsafe import Markup

from bn_repro import paper
from bn_repro.analysis import results
from bn_repro.analysis.assertions import ASSERTIONS, Assertion
from bn_repro.analysis.claims import COLUMNS, Claim, row
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import TEMPLATES, count, environment
from bn_repro.analysis.rules import VERDICTS
from bn_repro.analysis.summary import Report, distinct_runs

README, REPORT, PAGE = "README.md", "results/REPORT.md", "results/report.html"
CLAIMS = "results/claims.csv"
BEGIN, END = "<!-- results: written by make report -->", "<!-- /results -->"
"""This module writes what stands between these lines of the repository's README."""


class Figure(NamedTuple):
    """A figure: its file's name, what it shows, and what the paper shows."""

    name: str
    caption: str
    paper: str
    main: bool
    """Whether it is one of the paper's, or the study's first: the page folds the others away."""


class Overview:
    """All reports, in the paper's order; those of which it has nothing come last, by name."""

    def __init__(self, reports: Sequence[Report]) -> None:
        order = {name: place for place, name in enumerate(paper.STUDIES)}
        self.reports = sorted(reports, key=lambda r: (order.get(r.name, len(order)), r.name))

    def report(self, name: str) -> Report | None:
        """A study's results; None where there are none."""
        return next((report for report in self.reports if report.name == name), None)

    def claim(self, name: str, id: str) -> Claim | None:
        """A study's claim; None where there is none."""
        found = self.report(name)
        return next((claim for claim in found.claims if claim.id == id), None) if found else None

    @property
    def opening(self) -> list[str]:
        """The scale and what was learned, in paragraphs of markdown, for a file in ``results``."""
        text = relinked(self.part("opening"), "results/bn_alone", "results")
        return re.split(r"\n\s*\n", re.sub(r"[ \t]+", " ", text))

    def part(self, name: str) -> str:
        """Markdown that ``REPORT.md`` and the page share: ``opening``, ``failing``, ``legend``."""
        template = environment().get_template(f"{name}.md.j2")
        return template.render(overview=self, enough=ENOUGH_SEEDS).strip()

    @property
    def assertions(self) -> list[Assertion]:
        """Those of the paper, each with the studies that have results."""
        there = {report.name for report in self.reports}
        return [
            row._replace(studies=tuple(name for name in row.studies if name in there))
            for row in ASSERTIONS
        ]

    @property
    def claims(self) -> list[Claim]:
        """Those of all studies."""
        return [claim for report in self.reports for claim in report.claims]

    @property
    def verdicts(self) -> dict[str, int]:
        """How many claims hold, do not hold, are undecided, and are not testable."""
        found = [claim.verdict for claim in self.claims]
        return {verdict: found.count(verdict) for verdict in VERDICTS}

    @property
    def tally(self) -> str:
        """``Of 19 claims 7 hold, 1 does not hold, 9 are undecided, 2 are not testable. Of the
        undecided ones 5 have fewer than 5 seeds; in 2 the interval bounds the effect.``"""
        holds, fails, undecided, closed = self.verdicts.values()
        bounded = sum(claim.bounded for claim in self.claims)
        few = sum(c.verdict == "undecided" and c.n < ENOUGH_SEEDS for c in self.claims)
        have = "has" if few == 1 else "have"
        which = [f"{few} {have} fewer than {ENOUGH_SEEDS} seeds"] * bool(few)
        which += [f"in {bounded} the interval bounds the effect"] * bool(bounded)
        tally = (
            f"Of {count(len(self.claims), 'claim')} {holds} hold{'s' * (holds == 1)}, "
            f"{fails} do{'es' * (fails == 1)} not hold, {undecided} {_are(undecided)} undecided, "
            f"{closed} {_are(closed)} not testable."
        )
        return f"{tally} Of the undecided ones {'; '.join(which)}." if which else tally

    @staticmethod
    def judged(report: Report) -> str:
        """Of a study's claims: ``3 hold, 1 does not, 2 undecided``; ``-`` without claims."""
        if not report.claims:
            return "-"
        found = [claim.verdict for claim in report.claims]
        numbers = [found.count(verdict) for verdict in VERDICTS]
        words = (
            "holds" if numbers[0] == 1 else "hold",
            "does not" if numbers[1] == 1 else "do not",
            "undecided",
            "not testable",
        )
        return ", ".join(f"{n} {word}" for n, word in zip(numbers, words, strict=True) if n)

    @property
    def by_chance(self) -> str:
        """How many would hold if nothing had an effect."""
        asked = [claim.by_chance for claim in self.claims if claim.by_chance]
        return (
            f"{count(len(asked), 'claim')} {'is' if len(asked) == 1 else 'are'} of an effect and "
            f"{'has' if len(asked) == 1 else 'have'} enough seeds for a verdict. If all effects "
            f"were zero, about {sum(asked):.1f} of them would hold by chance."
        )

    @property
    def provenance(self) -> str:
        """``86 runs of 3 studies, 2.8 hours of training``."""
        runs = distinct_runs(self.reports)
        studies = f"{len(self.reports)} stud{'y' if len(self.reports) == 1 else 'ies'}"
        hours = runs["seconds"].sum() / 3600
        return f"{len(runs):,} runs of {studies}, {hours:.1f} hours of training"

    @property
    def failing(self) -> list[tuple[Report, Any]]:
        """The claims that do not hold, each with its report."""
        return [(r, c) for r in self.reports for c in r.claims if c.verdict == "does not hold"]

    def paper(self, report: Report) -> paper.Said | None:
        """What the paper has on a study's subject."""
        return paper.STUDIES.get(report.name)

    def figures(self, report: Report) -> list[Figure]:
        """A study's figures beside the paper's."""
        found = []
        for name in report.figures:
            words = re.sub(r"^figure\d*_?", "", name).replace("_", " ")
            caption = report.prose.captions.get(name) or f"{report.title}, {words}."
            said = paper.FIGURES.get(name)
            theirs = f"{said.section}. {said.words}" if said else ""
            found.append(Figure(name, caption, theirs, main=bool(theirs) or not found))
        return found


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def relinked(text: str, folder: str, to: str) -> str:
    """Markdown that lies in ``folder``, its relative links as they are from the folder ``to``."""

    def moved(link: re.Match[str]) -> str:
        target = link[1]
        if re.match(r"#|[a-z]+:", target):
            return link[0]
        return f"]({posixpath.relpath(posixpath.join(folder, target), to)})"

    return re.sub(r"\]\(([^()\s]+)\)", moved, text)


def write(root: Path, reports: Sequence[Report]) -> list[Path]:
    """Write the overview's files and the README's rows under ``root``; their paths."""
    overview, templates = Overview(reports), environment()
    templates.filters["flat"] = lambda text: " ".join(text.split())
    templates.filters["moved"] = _moved
    templates.filters["first_sentence"] = first_sentence
    before, after = around(root)
    rows = templates.get_template("readme.md.j2").render(overview=overview).strip()
    report = templates.get_template("report.md.j2").render(overview=overview)
    return [
        results.write(root / README, f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}"),
        results.write(root / REPORT, re.sub(r"\n{3,}", "\n\n", report).strip() + "\n"),
        results.write(root / PAGE, page(overview, root / "results")),
        results.write(root / CLAIMS, every_claim(overview.reports)),
    ]


def every_claim(reports: Sequence[Report]) -> str:
    """``claims.csv``: the rows of each study's ``claims.json``, with the study's name before them;
    empty where these have null."""
    text = io.StringIO()
    table = csv.DictWriter(text, ["study", *COLUMNS], lineterminator="\n")
    table.writeheader()
    for found in reports:
        table.writerows({"study": found.name, **row(claim)} for claim in found.claims)
    return text.getvalue()


def first_sentence(text: str) -> str:
    """Up to the first full stop before a capital; all of a text that has none."""
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]


def _moved(text: str, report: Report, to: str) -> str:
    """A study's prose, for a file in the folder ``to`` of the repository."""
    return relinked(text, f"results/{report.name}", to)


def around(root: Path) -> tuple[str, str]:
    """What stands before and after the rows in ``README.md`` under ``root``.

    Raises ``ValueError`` where they are not marked, from ``BEGIN`` to ``END``.
    """
    text = (root / README).read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or text.count(BEGIN) + text.count(END) > 2:
        raise ValueError(
            f"{root / README}: expected one line {BEGIN} and after it one line {END}; add both "
            "where the results belong"
        )
    return before, after


def page(overview: Overview, folder: Path) -> str:
    """``report.html``, which needs no file beside it; ``folder`` has the studies' folders."""
    markdown = _markdown()
    studies = "|".join(report.name for report in overview.reports)

    def sections(text: str) -> str:
        """Links to a study's page lead to its section; of the other files it has only the docs."""
        text = re.sub(rf"\]\(({studies})/README\.md(#[\w-]*)?\)", r"](#\1)", text)
        return re.sub(r"\[([^\]]*)\]\((?!#|[a-z]+:|\.\./docs/)[^)]*\)", r"\1", text)

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["line"] = lambda text: _tight(markdown.renderInline(text))
    pages.filters["sections"] = sections
    pages.filters["here"] = lambda text, report: sections(_moved(text, report, "results"))
    pages.filters["blocks"] = lambda text, label: _tight(markdown.render(text, {"label": label}))
    pages.filters["table"] = environment().filters["table"]
    return pages.get_template("report.html.j2").render(
        overview=overview,
        picture=lambda report, figure: _picture(folder / report.name / f"{figure}.svg"),
    )


def _markdown() -> MarkdownIt:
    """Markdown as the studies write it; a table scrolls on its own where it is too wide."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def opened(self: RendererHTML, tokens: Any, at: int, options: Any, env: Any) -> str:
        label = Markup.escape(env.get("label", "table"))
        return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>\n'

    markdown.add_render_rule("table_open", opened)
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


def _tight(rendered: str) -> Markup:
    """No line ends between a number and its percent sign."""
    return Markup(rendered.replace(" %", "&nbsp;%"))


def _picture(path: Path) -> dict[str, str]:
    """A figure as the attributes of an ``img``: its bytes, and its size in pixels."""
    content = path.read_bytes()
    box = re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', content)
    if box is None:
        raise ValueError(
            f"{path}: no figure of this project; remove it, and report its study again"
        )
    width, height = (str(round(float(side) * 4 / 3)) for side in box.groups())
    data = base64.b64encode(content).decode()
    return {"src": f"data:image/svg+xml;base64,{data}", "width": width, "height": height}
