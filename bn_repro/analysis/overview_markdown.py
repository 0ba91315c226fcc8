"""All studies at once as markdown: ``results/REPORT.md``, and the README's section on results."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bn_repro.analysis import claims as claim_files
from bn_repro.analysis import overview, readme, results
from bn_repro.analysis.overview import Told

README, REPORT = "README.md", "results/REPORT.md"
BEGIN, END = "<!-- results: written by make report -->", "<!-- /results -->"
"""What is between these lines of the repository's README is written here."""
PAPER = "[Ioffe & Szegedy 2015](https://arxiv.org/abs/1502.03167v3)"


def write(root: Path, told: Sequence[Told]) -> list[Path]:
    """Writes ``results/REPORT.md`` and the section of ``README.md`` under ``root``."""
    before, after = around(root)
    text = f"{before}{BEGIN}\n\n{section(told)}\n\n{END}{after}"
    return [results.write(root / REPORT, report(told)), results.write(root / README, text)]


def around(root: Path) -> tuple[str, str]:
    """What stands before and after the section in ``README.md`` under ``root``.

    Raises ``ValueError`` where it is not marked, from ``BEGIN`` to ``END``.
    """
    text = (root / README).read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or text.count(BEGIN) + text.count(END) > 2:
        raise ValueError(
            f"{root / README}: expected one line {BEGIN} and after it one line {END}, with the "
            "results between them; put them where the results belong"
        )
    return before, after


# --- results/REPORT.md ----------------------------------------------------------------------------


def report(told: Sequence[Told]) -> str:
    """The report over all studies, links relative to ``results/``."""
    told = overview.in_order(told)
    parts = [
        "# The paper's claims, and what came out",
        f"{PAPER}, reproduced. {overview.verdicts_in_words(told)} {overview.behind(told)} "
        "`make report` writes this page from the files beside it, and `report.html` with it.",
        *_unfinished(told),
        "## Claims",
        readme.table(
            ["claim", "section", "the paper", "here [95 % interval]", "n", "verdict", "study"],
            [
                [*row[:-1], f"**{row.verdict}**", f"[`{t.name}`]({t.name}/{results.README})"]
                for t in told
                for row in overview.rows(t)
            ],
        ),
        overview.NOTE,
        "## Deviations in short",
        "\n".join(f"- **{t.title}.** {t.deviations} {_all_deviations(t)}" for t in told),
        *(_study(t) for t in told),
    ]
    return "\n\n".join(parts) + "\n"


def _unfinished(told: Sequence[Told]) -> list[str]:
    names = [f"{t.title} ({t.runs})" for t in told if not t.finished]
    return [f"**Not finished:** {'; '.join(names)}."] if names else []


def _all_deviations(told: Told) -> str:
    return f"[All of them]({told.name}/{results.README}#deviations-from-the-paper)."


def _study(told: Told) -> str:
    name, said = told.name, told.said
    parts = [
        f"## {told.title}",
        told.study.WHAT,
        *([f"**The paper** ({said.section}): {said.words}"] if said else []),
        f"**Here** ({told.runs}): {told.summary} ".rstrip()
        + f" [Findings]({name}/{results.README}#findings).",
    ]
    for figure in overview.shown(told):
        parts += [
            f"![{figure.caption}]({name}/{figure.name}.svg)",
            f"*{figure.name}.* **Here**: {figure.caption} **The paper**: {figure.paper}",
        ]
    parts += [
        "**The runs behind it**",
        told.arms,
        f"{told.cost}; commit {told.commits}; rows: [`{results.RUNS}`]({name}/{results.RUNS}).",
        "\n".join(["```", *readme.commands(told.study, name), "```"]),
    ]
    return "\n\n".join(parts)


# --- the section of README.md ---------------------------------------------------------------------


def section(told: Sequence[Told]) -> str:
    """What came out, for the repository's README; links relative to the repository."""
    told = overview.in_order(told)
    parts = [
        _filled(
            f"{overview.verdicts_in_words(told)} [{REPORT}]({REPORT}) has them "
            "beside the paper's numbers, with every figure. Intervals are 95 % bootstrap "
            "intervals, over n seeds where the study does not say otherwise; fewer than 3 seeds "
            f"decide nothing. {claim_files.LEGEND}"
        )
    ]
    for t in told:
        link = f"[{t.title}](results/{t.name}/{results.README})"
        command = readme.commands(t.study, t.name)[0]
        so_far = "" if t.finished else "**not finished**, "
        cost = ", ".join(filter(None, (t.runs, readme.time_in_words(t.data))))
        parts.append(_filled(f"**{link}**, `{command}`: {so_far}{cost}. {t.summary}".rstrip()))
        parts += [readme.claims_table(t.claims)] if t.claims else []
    return "\n\n".join(parts)


def _filled(text: str) -> str:
    """In lines of 100 characters; a command stays in one piece."""
    whole = re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.fill(whole, 100, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ")
