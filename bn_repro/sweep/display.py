"""What a person sees while runs go on: bars in a terminal or a notebook, sparse lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

if TYPE_CHECKING:  # it brings torch, which takes seconds; a look at the status needs none
    from bn_repro.records.reader import Outcome

QUIET_SECONDS = 30
"""In a log file, one line about the runs in progress each so often."""

MANY = 8
"""More runs than these at once, and such a line tells of them together."""

NOTEBOOK_SECONDS = 0.5
"""In a notebook, the bars are drawn anew each so often."""


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 05 min``."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02} min"


def percent(fraction: float | None) -> str:
    """``97.6 %``, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def console() -> Console:
    """A terminal as wide as it is; a log file as wide as its lines."""
    found = Console()
    return found if found.is_terminal else Console(width=200)


class Notebook:
    """Bars in a cell's output, drawn over each other, without widgets."""

    def __init__(self) -> None:
        from IPython.display import display  # what a kernel has

        self.console = Console(width=100, force_jupyter=False, color_system=None)
        self.cell: Any = display({"text/plain": ""}, raw=True, display_id=True)
        self.drawn = 0.0

    def draw(self, bars: Progress, last: bool = False) -> None:
        """Draw the bars, if it is time; at the ``last``, nothing is left of them."""
        if last or time.monotonic() - self.drawn > NOTEBOOK_SECONDS:
            self.drawn = time.monotonic()
            with self.console.capture() as captured:
                self.console.print("" if last else bars.get_renderable())
            self.cell.update({"text/plain": captured.get()}, raw=True)


class Board:
    """Runs side by side: for each its step, its last accuracy and its time left; and for all."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,}/{task.total:,}"),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.notebook: Notebook | None = None
        self.tasks: dict[int, TaskID] = {}
        self.titles: dict[int, str] = {}
        self.steps: dict[int, tuple[int, int]] = {}
        self.begun: dict[int, tuple[float, int]] = {}
        self.left = self.ended = 0
        self.count = 0
        self.clock = self.spoken = time.monotonic()
        self.made = 0

    def begin(self, waiting: Sequence[int], finished: int, failed: int = 0) -> None:
        """``waiting`` holds the lengths in steps of the runs to come; ``finished`` need nothing,
        and those that ``failed`` before are left alone."""
        self.ended = finished + failed
        self.count = len(waiting) + self.ended
        self.left = sum(waiting)
        if finished and self.count > 1:
            self.console.print(f"{finished} of {self.count} runs are already finished")
        if failed:
            self.console.print(f"{failed} of {self.count} runs failed before; they are left alone")
        if waiting:
            if self.console.is_jupyter:
                self.notebook = Notebook()
            self.bars.start()
            if self.count > 1:
                self.total = self.bars.add_task(
                    "all", total=self.count, completed=self.ended, note=""
                )

    def start(self, run: int, title: str, steps: int) -> None:
        """Run number ``run`` goes to work."""
        self.titles[run], self.steps[run] = title, (0, steps)
        self.tasks[run] = self.bars.add_task(title, total=steps, note="")

    def step(self, run: int, step: int = 0, top1: float | None = None, **_: object) -> None:
        """Run ``run`` is at ``step``."""
        before, steps = self.steps[run]
        if step > before:
            now = time.monotonic()
            if run not in self.begun:
                # a resumed run starts somewhere; speed counts from there
                self.begun[run] = (now, step)
                self.left -= step
            else:
                self.made += step - before
                self.left -= step - before
            self.steps[run] = (step, steps)
            clock, first = self.begun[run]
            pace = (now - clock) / (step - first) if step > first else 0.0
            left = f"{duration(pace * (steps - step))} left" if pace else ""
            note = f"{percent(top1)}  {left}" if top1 is not None else left
            self.bars.update(self.tasks[run], completed=step, note=note)
            if self.count > 1:
                self.bars.update(self.total, note=self._left())
        if self.notebook is not None:
            self.notebook.draw(self.bars)
        else:
            self._speak()

    def _left(self) -> str:
        elapsed = time.monotonic() - self.clock
        return f"{duration(elapsed / self.made * max(0, self.left))} left" if self.made else ""

    def _speak(self) -> None:
        if self.console.is_terminal or time.monotonic() - self.spoken < QUIET_SECONDS:
            return
        self.spoken = time.monotonic()
        if len(self.steps) > MANY:
            at = sum(step for step, _ in self.steps.values())
            of = sum(steps for _, steps in self.steps.values())
            runs = f"{len(self.steps)} runs at {at:,}/{of:,} steps in all"
        else:
            runs = "; ".join(
                f"{self.titles[i]} at {step:,}/{steps:,}" for i, (step, steps) in self.steps.items()
            )
        line = f"{runs}; {self._left()}"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def end(self, run: int, title: str, outcome: Outcome) -> None:
        """Run ``run`` came to an end."""
        self.ended += 1
        step, steps = self.steps.pop(run, (0, 0))
        self.left -= steps - step
        if run in self.tasks:
            self.bars.remove_task(self.tasks.pop(run))
        how = f"{outcome.state} at step {outcome.step:,}"
        if outcome.top1 is not None:
            how += f", {percent(outcome.top1)}"
        how += f", {duration(outcome.seconds)}" + (f": {outcome.error}" if outcome.error else "")
        place = f"[{self.ended}/{self.count}] " if self.count > 1 else ""
        self.console.print(f"{place}{title}: {how}", soft_wrap=True, highlight=False, markup=False)
        if self.count > 1:
            self.bars.update(self.total, completed=self.ended, note=self._left())

    def close(self) -> None:
        """Take the bars away."""
        self.bars.stop()
        if self.notebook is not None:
            self.notebook.draw(self.bars, last=True)


def table(titles: Sequence[str], outcomes: Sequence[Outcome]) -> Table:
    """The runs of a study with state, steps, accuracy and time."""
    shown = Table(box=None, pad_edge=False)
    for name in ("run", "state", "step", "accuracy", "time"):
        shown.add_column(name, justify="left" if name in ("run", "state") else "right")
    for title, o in zip(titles, outcomes, strict=True):
        state = o.state if o.error is None else f"{o.state}: {o.error}"
        shown.add_row(
            escape(title), escape(state), f"{o.step:,}", percent(o.top1), duration(o.seconds)
        )
    return shown
