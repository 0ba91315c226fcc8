"""One live view of runs, of what trains and of what ``bn-repro status`` looks at: a table that is
redrawn in a terminal or a notebook, sparse lines in a log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bn_repro.records.paths import printable
from bn_repro.records.reader import FINISHED, Outcome
from bn_repro.sweep.console import count_of, duration, log, percent
from bn_repro.sweep.run_status import AT_WORK, RunRow, RunStatus, Statuses, time_left

REFRESH_SECONDS = 1.0
LOG_SECONDS, LOG_SHARE = 30, 0.05
"""A log gets a line about the runs at work after so many seconds, or so much of the time so far."""
MANY = 8
"""With more runs at work than this, a line in a log gives their sum."""
STYLES = {
    "running": "cyan",
    "evaluating": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "preempted": "yellow",
    "not begun": "dim",
    "completed": "green",
    "diverged": "magenta",
}
"""Of the states, in the order of what a person wants to see first."""
COLUMNS = ("run", "state", "", "step", "accuracy", "left", "rate", "last record")
FORMS = ((8, 16), (8, 8), (7, 8), (6, 8), (5, 8))
"""The table's forms from wide to narrow: its number of columns, and the length of the bar."""
NOTEBOOK_WIDTH = 100


def label(state: str) -> str:
    """A state's word in the display: a run that was asked to stop is ``stopped``."""
    return "stopped" if state == "preempted" else state


class Display:
    """How far ``rows`` are, updated from their records.

    ``to_train`` are the directories of the runs that this command is going to train: the time left
    is theirs too.
    """

    def __init__(
        self,
        rows: Sequence[RunRow],
        console: Console,
        title: str = "",
        to_train: Container[Path] = (),
    ) -> None:
        self.rows, self.console, self.title, self.to_train = rows, console, title, to_train
        self.statuses, self.current = Statuses(), list[RunStatus]()
        self.ended = sum(row.directory not in to_train for row in rows)
        self._screen: Live | _Cell | None = None
        self._begun = self._logged = time.monotonic()
        self._updated = float("-inf")

    def start(self, keep: bool = False) -> None:
        """Begin to draw where the output can be drawn over; ``keep`` the last view at the end."""
        if self.console.is_jupyter:
            self._screen = _Cell()
        elif self.console.is_terminal:
            self._screen = Live(console=self.console, auto_refresh=False, transient=not keep)
            self._screen.start()

    def update(self) -> None:
        """Read the records, and draw or log what they say, if it is time."""
        now = time.monotonic()
        if now - self._updated < REFRESH_SECONDS:
            return
        self._updated = now
        self.current = self.statuses.read(self.rows)
        if self._screen is None and any(status.state in AT_WORK for status in self.current):
            self.start()
        if self._screen is not None:
            self._screen.update(self.view(self.current), refresh=True)
        elif now - self._logged >= max(LOG_SECONDS, LOG_SHARE * (now - self._begun)):
            self._log_progress(self.current)

    def view(self, statuses: Sequence[RunStatus]) -> RenderableType:
        """Summary and table, cut to the height of the screen: what is at work first."""
        rows, jupyter = self.rows, self.console.is_jupyter
        width = NOTEBOOK_WIDTH if jupyter else self.console.width
        if len(rows) == 1:
            return table(rows, statuses, width)
        head = Text(summary(self.title, rows, statuses, self.to_train))
        tallest = max((-(-len(row.title) // max(16, width - 56)) for row in rows), default=1)
        room = len(rows) if jupyter else max(1, (self.console.height - 5) // tallest)
        if len(rows) <= room:
            return Group(head, table(rows, statuses, width))
        pairs = sorted(zip(rows, statuses, strict=True), key=lambda pair: urgency(pair[1].state))
        first, rest = pairs[: room - 1], pairs[room - 1 :]
        count = Counter(label(status.state) for _, status in rest)
        more = ", ".join(f"{number} {state}" for state, number in count.items())
        drawn = table([row for row, _ in first], [status for _, status in first], width)
        return Group(head, drawn, Text(f"and {len(rest)} more: {more}"))

    def _log_progress(self, statuses: Sequence[RunStatus]) -> None:
        pairs = zip(self.rows, statuses, strict=True)
        working = [(row, status) for row, status in pairs if status.state in AT_WORK]
        if not working:
            return
        self._logged = time.monotonic()
        if len(working) > MANY:
            step, steps = sum(s.step for _, s in working), sum(row.steps for row, _ in working)
            line = f"{len(working)} runs at {step:,}/{steps:,} steps in all"
        else:
            line = "; ".join(_progress(row, status) for row, status in working)
        left = time_left(self.rows, statuses, self.to_train)
        log(self.console, line + (f"; about {duration(left)} left" if left else ""))

    def end(self, row: RunRow, outcome: Outcome) -> None:
        """Log how a run ended."""
        self.ended += 1
        place = f"[{self.ended}/{len(self.rows)}] " if len(self.rows) > 1 else ""
        how = f"{label(outcome.state)} at step {outcome.step:,}"
        if outcome.top1 is not None:
            how += f", {percent(outcome.top1)}"
        how += f", {duration(outcome.seconds)}" + (f": {outcome.error}" if outcome.error else "")
        log(self.console, f"{place}{row.title}: {how}")

    def close(self) -> None:
        """End the live view; with ``keep`` it stays where it was."""
        if self._screen is not None:
            self._screen.stop()


def _progress(row: RunRow, status: RunStatus) -> str:
    line = f"{row.title} at {status.step:,}/{row.steps:,}"
    line += f", {percent(status.top1)}" if status.top1 is not None else ""
    return line + (", evaluating" if status.state == "evaluating" else "")


class _Cell:
    """Text in a notebook's output that is redrawn, without widgets; it stands in for ``Live``."""

    def __init__(self) -> None:
        from IPython.display import display  # which a kernel has

        self._console = Console(width=NOTEBOOK_WIDTH, force_jupyter=False, color_system=None)
        self._cell: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def update(self, view: RenderableType, refresh: bool = True) -> None:
        with self._console.capture() as captured:
            self._console.print(view)
        self._cell.update({"text/plain": captured.get()}, raw=True)

    def stop(self) -> None:
        self.update("")


@contextmanager
def updated(display: Display) -> Iterator[None]:
    """Update ``display`` from a thread while this one trains."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(REFRESH_SECONDS):
            display.update()

    # In this context: a notebook finds the cell by it.
    thread = threading.Thread(target=copy_context().run, args=(loop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        display.close()


def urgency(state: str) -> int:
    """The place of a state among those that a person wants to see first."""
    known = list(STYLES)
    return known.index(state) if state in known else 0


def summary(
    title: str,
    rows: Sequence[RunRow],
    statuses: Sequence[RunStatus],
    to_train: Container[Path] = (),
) -> str:
    """``study fig1: 20 runs, 2 running, 6 not begun, 12 completed; about 1 min 20 s left``."""
    count = Counter(status.state for status in statuses)
    states = [f"{count[state]} {label(state)}" for state in sorted(count, key=urgency)]
    line = f"{title}: {count_of(len(rows), 'run')}, {', '.join(states)}"
    left = time_left(rows, statuses, to_train)
    if left is None:
        return line
    pairs = zip(rows, statuses, strict=True)
    others = any(s.state == "not begun" and row.directory not in to_train for row, s in pairs)
    return f"{line}; about {duration(left)} left{' for those at work' * others}"


def table(rows: Sequence[RunRow], statuses: Sequence[RunStatus], width: int) -> Table:
    """A line to each run: state, bar, step, accuracy, time left, rate, age of its last record.

    Where ``width`` is too small for the titles, the bar is short and the last columns are left out;
    a title that is still too long goes on in the next line, since any part may tell runs apart.
    """
    longest = max((len(row.title) for row in rows), default=0)
    kept, lines = range(0), []
    for count, bar in FORMS:
        lines = [_cells(row, s, bar) for row, s in zip(rows, statuses, strict=True)]
        kept = [k for k in range(count) if any(cells[k] for cells in lines)]
        lengths = [max(len(cells[k]) for cells in (COLUMNS, *lines)) for k in kept]
        if longest + sum(lengths[1:]) + 2 * (len(kept) - 1) <= width:
            break
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k in kept:
        justify = "right" if k > 2 else "left"
        made.add_column(COLUMNS[k], justify=justify, no_wrap=k > 0, overflow="fold")
    for status, cells in zip(statuses, lines, strict=True):
        style = STYLES.get(status.state, "red")
        drawn = Text(cells[2], style="dim")
        drawn.stylize(style, 0, cells[2].count("━"))
        texts = [Text(cells[0]), Text(cells[1], style=style), drawn, *map(Text, cells[3:])]
        made.add_row(*(texts[k] for k in kept))
    return made


def _cells(row: RunRow, status: RunStatus, bar: int) -> list[str]:
    done = round(bar * min(1.0, status.step / row.steps)) if row.steps else 0
    rate = status.rate if status.state in AT_WORK else None
    age = None if status.recorded is None else max(0.0, time.time() - status.recorded)
    return [
        printable(row.title),
        label(status.state),
        "━" * done + "·" * (bar - done),
        f"{status.step:,}/{row.steps:,}" if row.steps else f"{status.step:,}",
        percent(status.top1),
        duration((row.steps - status.step) / rate) if rate else "",
        f"{rate:,.1f}/s" if rate else "",
        "" if age is None or status.state in FINISHED else f"{duration(age)} ago",
    ]


def table_of_outcomes(titles: Sequence[str], outcomes: Sequence[Outcome]) -> Table:
    """How runs ended: state, steps, accuracy and time."""
    made = Table(box=None, pad_edge=False)
    for name in ("run", "state", "step", "accuracy", "time"):
        made.add_column(name, justify="left" if name in ("run", "state") else "right")
    for title, o in zip(titles, outcomes, strict=True):
        state = label(o.state) if o.error is None else f"{label(o.state)}: {o.error}"
        cells = (f"{o.step:,}", percent(o.top1), duration(o.seconds))
        made.add_row(escape(printable(title)), escape(printable(state)), *cells)
    return made
