"""The experiments and studies there are, by the labelled heads of their YAML files.

A head is the comment that a file begins with. Its lines are ``# Label: text``, and lines indented
below go on: ``Paper`` (the place in the paper, and what is trained), ``Question`` (a study's),
``Expected``, ``Cost`` and ``Command`` (each line one command). Other lines of it are for readers.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bn_repro.records.paths import CONFIGS, RESULTS

LABEL = re.compile(r"# (Paper|Question|Expected|Cost|Command): +(\S.*)")
GOES_ON = re.compile(r"#   +(\S.*)")
VERDICTS = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("undecided", "undecided"),
    "not testable": ("not testable", "not testable"),
}
"""A verdict, said of one claim and of several."""


@dataclass(frozen=True)
class Entry:
    """An experiment or a study: what its head says, and the measured cost."""

    name: str
    paper: str
    question: str
    expected: str
    cost: str
    commands: tuple[str, ...]


def names(group: str, configs: Path | None = None) -> list[str]:
    """The options of ``experiment`` or ``study`` in a folder of configurations, by default ours, as
    the command line takes them."""
    folder = (configs or CONFIGS) / group
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths if path.name != "base")


def entry(group: str, name: str) -> Entry:
    """What the head of ``configs/<group>/<name>.yaml`` says.

    A study's cost is read from its committed runs, where there are any. Raises ValueError where the
    place in the paper, the cost or the command is missing.
    """
    path = CONFIGS / group / f"{name}.yaml"
    head = _head(path.read_text())
    measured = measured_cost(name) if group == "study" else ""
    cost = "; ".join(part for part in (measured, " ".join(head.get("Cost", []))) if part)
    needed = {"Paper": head.get("Paper"), "Cost": cost, "Command": head.get("Command")}
    for label, found in needed.items():
        if not found:
            raise ValueError(f"{path}: its head has no line '# {label}: ...'")
    paper, question, expected = (
        " ".join(head.get(label, [])) for label in ("Paper", "Question", "Expected")
    )
    return Entry(name, paper, question, expected, cost, tuple(head["Command"]))


def _head(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    label = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if begun := LABEL.match(line):
            label = begun[1]
            found[label] = [begun[2].strip()]
        elif label and (more := GOES_ON.match(line)):
            found[label].append(more[1].strip())
        else:
            label = ""
    return found


def entries(group: str) -> list[Entry]:
    """All experiments, or all studies; one whose head lacks something says what."""
    found = []
    for name in names(group):
        try:
            found.append(entry(group, name))
        except ValueError as error:
            command = f"bn-repro train {group}={name}"
            found.append(Entry(name, str(error), "", "", "unknown", (command,)))
    return found


def measured_cost(study: str, results: Path = RESULTS) -> str:
    """``32 runs, 25 minutes a run (median), 13.8 hours in all``, from the committed runs."""
    try:
        with open(results / study / "runs.csv", newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file) if row["seconds"]]
    except (OSError, ValueError, KeyError):
        seconds = []
    if not seconds:
        return ""
    each, total = median(seconds), sum(seconds) / 60
    one = f"{each:.0f} s" if each < 120 else f"{each / 60:.0f} minutes"
    whole = f"{total:.0f} minutes" if total < 60 else f"{total / 60:.1f} hours"
    return f"{len(seconds)} runs, {one} a run (median), {whole} in all"


def verdicts(study: str, results: Path = RESULTS) -> str:
    """How the claims of ``study`` fell: ``4 hold, 1 undecided``."""
    try:
        claims = json.loads((results / study / "claims.json").read_text())
        count = Counter(claim["verdict"] for claim in claims)
    except FileNotFoundError:
        return "no results yet"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"claims.json cannot be read: {type(error).__name__}"
    found = [f"{n} {VERDICTS[key][n > 1]}" for key in VERDICTS if (n := count[key])]
    return ", ".join(found) or "no claims"


def tables() -> Iterator[Table]:
    """The studies, with how their claims fell, and the experiments."""
    for group, title in (("study", "Studies"), ("experiment", "Experiments")):
        table = Table(
            box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False, title=title
        )
        table.title_justify = "left"
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for e in entries(group):
            lines = [e.paper, e.question, e.expected and f"Expected: {e.expected}"]
            lines.append(f"Cost: {e.cost}")
            if group == "study":
                lines.append(f"Verdicts: {verdicts(e.name)}")
            text = escape("\n".join(line for line in lines if line))
            commands = escape("\n".join(e.commands))
            table.add_row(f"[bold]{e.name}[/]", f"{text}\n[cyan]{commands}[/]")
        yield table


@cache
def listing(group: str) -> str:
    """The options of a group and what each shows, for ``--help``."""
    return columns(
        (e.name, f"{e.question} ({e.paper})" if e.question else e.paper) for e in entries(group)
    )


def columns(rows: Iterable[tuple[str, str]], width: int = 100) -> str:
    """Names and what is said of each, side by side in a terminal."""
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row(f"  {name}", escape(text))
    console = Console(width=width, no_color=True, force_jupyter=False)
    with console.capture() as captured:
        console.print(table, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
