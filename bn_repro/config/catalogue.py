"""The experiments and studies there are, as the heads of their YAML files tell them.

A head is the comment that a file begins with: what it shows and where in the paper, what to expect,
its cost, and its command.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bn_repro.records.paths import CONFIGS, RESULTS

FIGURE = re.compile(r"Figures? \d\w?(?: (?:and|to) \d\w?)*")
SECTION = re.compile(r"(?:abstract, )?\bsec(?:\.|tion) \d+(?:\.\d+)*(?:, \d+(?:\.\d+)*)*", re.I)
SENTENCE = re.compile(r"\. +(?=[A-Z])")
EXPECTED = re.compile(r"(?:Expected|Paper): ")
COMMAND = re.compile(r"python scripts/\S.*$")
COST = re.compile(r"\bCost\b[ :]*")
VERDICTS = {"holds": "hold", "does not hold": "do not", "undecided": "undecided"}


@dataclass(frozen=True)
class Entry:
    """An experiment or a study: its place in the paper, what it shows, what to expect, its cost."""

    name: str
    paper: str
    claim: str
    expected: str
    cost: str
    commands: tuple[str, ...]


def names(group: str) -> list[str]:
    """The options of ``experiment`` or ``study``, as the command line takes them."""
    folder = CONFIGS / group
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths if path.name != "base")


def entry(group: str, name: str) -> Entry:
    """What the head of ``configs/<group>/<name>.yaml`` tells.

    Raises ValueError where it tells no place in the paper, or no cost.
    """
    path = CONFIGS / group / f"{name}.yaml"
    lines: list[str] = []
    commands: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            commands += COMMAND.findall(line)
            lines.append(COMMAND.sub("", line.lstrip("# ")).strip())
    told, *cost = COST.split(" ".join(line for line in lines if line), maxsplit=1)
    figure, section = FIGURE.match(told), SECTION.search(told)
    sentences = [sentence.strip(". ") for sentence in SENTENCE.split(told)]
    named = re.match(rf"{FIGURE.pattern}[,:] ", sentences[0])  # and the claim goes on after it
    claim = sentences[0][named.end() :] if named else sentences[0]
    place = figure or section
    if place is None or not cost:
        what = "place in the paper (Figure ... or Sec. ...)" if cost else "cost (Cost: ...)"
        raise ValueError(f"{path}: its head comment tells no {what}")
    return Entry(
        name,
        paper=re.sub(r"sec(?:\.|tion)", "sec.", place[0], flags=re.I),
        claim=claim[:1].upper() + claim[1:],
        expected=next((s for s in sentences if EXPECTED.match(s)), ""),
        cost=cost[0].strip(". "),
        commands=tuple(commands) or (f"python scripts/train.py {group}={name}",),
    )


def entries(group: str) -> list[Entry]:
    """All experiments, or all studies; one whose head tells too little says so for itself."""
    told = []
    for name in names(group):
        try:
            told.append(entry(group, name))
        except ValueError as error:
            command = f"python scripts/train.py {group}={name}"
            told.append(Entry(name, "-", str(error), "", "not told", (command,)))
    return told


def verdicts(study: str, results: Path = RESULTS) -> str:
    """How the claims of ``study`` fell: ``4 hold, 1 undecided``."""
    try:
        claims = json.loads((results / study / "claims.json").read_text())
        count = Counter(claim["verdict"] for claim in claims)
    except FileNotFoundError:
        return "no results yet"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"claims.json cannot be read: {type(error).__name__}"
    return ", ".join(f"{count[key]} {word}" for key, word in VERDICTS.items() if count[key])


@cache  # OmegaConf asks for it at every composition
def listing(group: str, width: int = 90) -> str:
    """The options of a group and what each shows, for ``--help``."""
    table = Table.grid(padding=(0, 2))
    for e in entries(group):
        place = "" if e.paper in e.claim else f" ({e.paper})"
        table.add_row(f"  {e.name}", escape(f"{e.claim}{place}"))
    console = Console(width=width, no_color=True, force_jupyter=False)
    with console.capture() as captured:
        console.print(table, highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def show(console: Console) -> None:
    """Print the studies, with how their claims fell, and the experiments."""
    for group, title in (("study", "Studies"), ("experiment", "Experiments")):
        table = Table(
            box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False, title=title
        )
        table.title_justify = "left"
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for e in entries(group):
            told = [e.claim, *([e.expected] if e.expected else []), f"Cost: {e.cost}"]
            if group == "study":
                told.append(f"Verdicts: {verdicts(e.name)}")
            commands = escape("\n".join(e.commands))
            table.add_row(
                f"[bold]{e.name}[/]\n{escape(e.paper)}",
                f"{escape(chr(10).join(told))}\n[cyan]{commands}[/]",
            )
        console.print(table, highlight=False)
