"""What ``scripts/status.py`` shows: a line and a bar to each run, once or until all have ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bn_repro.cli.errors import COMPLETED
from bn_repro.cli.main import words
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.sweep import display, status
from bn_repro.sweep.display import duration, percent
from bn_repro.sweep.status import FINISHED, Look, Row

REFRESH_SECONDS = 2.0
EXPAND_SECONDS = 30.0
"""A study whose later blocks wait for its earlier ones is looked at anew each so often."""
STYLES = {
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "preempted": "yellow",
    "waiting": "dim",
    "completed": "green",
    "diverged": "magenta",
}
"""Of the states, in the order of what a person wants to see first."""


class Watch:
    """Looks at the same runs again and again: finished ones once, the others' rate by the clock."""

    def __init__(self) -> None:
        self.done: dict[Path, tuple[int, Look]] = {}
        self.first: dict[Path, tuple[float, int]] = {}

    def look(self, row: Row) -> Look:
        """How far the run is by now."""
        path = row.directory / paths.STATUS
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return Look("waiting")
        known = self.done.get(row.directory)
        if known is not None and known[0] == changed:
            return known[1]
        seen = status.look(row.directory, row.batch_size)
        if seen.state in FINISHED:
            self.done[row.directory] = (changed, seen)
        elif seen.state == "running":
            now = time.monotonic()
            clock, step = self.first.setdefault(row.directory, (now, seen.step))
            if seen.step > step:
                seen = replace(seen, rate=(seen.step - step) / (now - clock))
        return seen


def summary(title: str, rows: Sequence[Row], looks: Sequence[Look]) -> str:
    """``study fig1: 20 runs, 2 running, 6 waiting, 12 completed; about 1 min 20 s left``."""
    count = Counter(seen.state for seen in looks)
    told = [f"{count[state]} {state}" for state in sorted(count, key=_urgency)]
    line = f"{title}: {len(rows)} run{'s' * (len(rows) != 1)}, {', '.join(told)}"
    pace = sum(seen.rate or 0.0 for seen in looks if seen.state == "running")
    pairs = zip(rows, looks, strict=True)
    left = sum(row.steps - seen.step for row, seen in pairs if seen.state not in FINISHED)
    return f"{line}; about {duration(left / pace)} left" if pace and left else line


def _urgency(state: str) -> int:
    known = list(STYLES)
    return known.index(state) if state in known else 0


COLUMNS = ("run", "state", "", "step", "accuracy", "left", "rate", "last record")


def table(rows: Sequence[Row], looks: Sequence[Look], width: int) -> Table:
    """A line to each run: state, bar, step, accuracy, time left, rate, age of its last record.

    Where ``width`` is small the bar is short, the last columns are left out, and titles are cut in
    their middle, for their ends tell them apart.
    """
    bar = 16 if width >= 110 else 8
    count = 8 if width >= 110 else 6 if width >= 90 else 5
    lines = [_cells(row, seen, bar)[:count] for row, seen in zip(rows, looks, strict=True)]
    lengths = [max(map(len, cells)) for cells in zip(COLUMNS[:count], *lines, strict=True)]
    room = max(16, width - sum(lengths[1:]) - 2 * (count - 1))
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(COLUMNS[:count]):
        shown.add_column(name, justify="right" if number > 2 else "left", no_wrap=True)
    for seen, (title, state, line, *numbers) in zip(looks, lines, strict=True):
        style = STYLES.get(state, "red")
        drawn = Text(line, style="dim")
        drawn.stylize(style, 0, line.count("━"))
        shown.add_row(Text(_cut(title, room)), Text(seen.state, style=style), drawn, *numbers)
    return shown


def _cells(row: Row, seen: Look, bar: int) -> list[str]:
    done = round(bar * min(1.0, seen.step / row.steps)) if row.steps else 0
    rate = seen.rate if seen.state == "running" else None
    over = seen.state in FINISHED or seen.age is None
    return [
        row.title,
        seen.state,
        "━" * done + "·" * (bar - done),
        f"{seen.step:,}/{row.steps:,}" if row.steps else f"{seen.step:,}",
        percent(seen.top1),
        duration((row.steps - seen.step) / rate) if rate else "",
        f"{rate:,.1f}/s" if rate else "",
        "" if over or seen.age is None else f"{duration(seen.age)} ago",
    ]


def _cut(title: str, room: int) -> str:
    if len(title) <= room:
        return title
    end = (room - 1) * 2 // 3
    return f"{title[: room - 1 - end]}…{title[-end:]}"


def view(title: str, rows: Sequence[Row], looks: Sequence[Look], console: Console) -> Group:
    """The whole of it, cut to the height of the screen: what is at work first."""
    head = Text(summary(title, rows, looks))
    room = console.height - 5
    if len(rows) <= room:
        return Group(head, table(rows, looks, console.width))
    pairs = sorted(zip(rows, looks, strict=True), key=lambda pair: _urgency(pair[1].state))
    some, rest = pairs[: room - 1], pairs[room - 1 :]
    count = Counter(seen.state for _, seen in rest)
    more = ", ".join(f"{number} {state}" for state, number in count.items())
    shown = table([r for r, _ in some], [s for _, s in some], console.width)
    return Group(head, shown, Text(f"and {len(rest)} more: {more} (live=false tells of all)"))


def follow(title: str, read: Callable[[], list[Row]], console: Console, live: bool) -> None:
    """Print how far the runs are: once, or in a terminal until all have finished, or Ctrl-C."""
    watch = Watch()
    rows = read()
    looks = [watch.look(row) for row in rows]
    if not (live and console.is_terminal):
        console.print(summary(title, rows, looks), highlight=False, markup=False, soft_wrap=True)
        console.print(table(rows, looks, console.width))
        for row, seen in zip(rows, looks, strict=True):
            if seen.error:
                line = f"{row.title}: {seen.state}: {seen.error} ({row.directory})"
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as screen:
        while True:
            screen.update(view(title, rows, looks, console), refresh=True)
            if all(seen.state in FINISHED for seen in looks):
                return
            time.sleep(REFRESH_SECONDS)
            rows = read()
            looks = [watch.look(row) for row in rows]


def show(config: Config, words: Sequence[str], console: Console) -> None:
    """Follow the runs of a study, or those under the runs directory."""
    if not config.study.blocks:
        root = Path(config.runs)
        return follow(str(root), lambda: status.found(root), console, config.live)
    rows, whole = status.planned(config, words)
    asked = time.monotonic()

    def read() -> list[Row]:
        nonlocal rows, whole, asked
        if not whole and time.monotonic() - asked > EXPAND_SECONDS:  # a later block may be known
            rows, whole = status.planned(config, words)
            asked = time.monotonic()
        return rows

    follow(f"study {config.study.name}", read, console, config.live)


def main(config: Config) -> int:
    """Follow until all is over; Ctrl-C ends it, and is no failure."""
    with suppress(KeyboardInterrupt):
        show(config, words(), display.console())
    return COMPLETED
