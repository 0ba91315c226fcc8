"""What runs would take before they train: how many, how long, how much disk. Nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from bn_repro.config.identity import at_scale
from bn_repro.config.schema import Config
from bn_repro.records import reader
from bn_repro.records.errors import Unreadable
from bn_repro.sweep.console import count_of, duration
from bn_repro.sweep.costs import CompletedRuns, size_of
from bn_repro.sweep.planned import Key, PlannedRun
from bn_repro.sweep.scheduler import failed_before


@dataclass
class Part:
    """Runs that the forecast tells together."""

    title: str
    runs: int = 0
    finished: int = 0
    to_train: int = 0
    each: list[float] = field(default_factory=list)
    """Seconds of each run that is to be trained, as far as they are known, without what is done."""
    whole: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    sources: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)


class Forecast:
    """The runs of a command, as they stand, and what is left of them."""

    def __init__(
        self, runs: Sequence[PlannedRun], config: Config, rows: Mapping[Key, object] | None = None
    ) -> None:
        """``config`` is the command's, whose ``force`` and ``retry`` count; ``rows`` are done."""
        self.config, self.known = config, CompletedRuns(config.runs)
        self.failed = self.begun = 0
        self.parts: dict[str, Part] = {}
        failed = {} if config.force or config.retry else failed_before(runs)
        for run in runs:
            blocks = f"{', '.join(run.blocks)}: " if any(run.blocks) else ""
            title = blocks + at_scale(run.config.experiment, run.config.scale)
            part = self.parts.setdefault(title, Part(title))
            part.runs += 1
            if not config.force and (run.key in (rows or ()) or _is_finished(run)):
                part.finished += 1
            elif run.directory in failed:
                self.failed += 1
            else:
                self._add(part, run)

    def _add(self, part: Part, run: PlannedRun) -> None:
        part.to_train += 1
        steps = run.config.train.steps
        done = 0 if self.config.force else min(reader.last_status(run.directory).step, steps)
        self.begun += done > 0
        found, same = self.known.like(run)
        if found:
            seconds = median(f.seconds if same else f.seconds / f.steps * steps for f in found)
            part.whole.append(seconds)
            part.each.append(seconds * (1 - done / steps))
            part.sources |= dict.fromkeys(f.source for f in found)
            part.devices |= dict.fromkeys(f.device for f in found if f.device)
        sizes = [f.size for f in found if f.size is not None]
        part.sizes.append(median(sizes) if sizes else size_of(run.config))

    def total(self, what: str) -> int:
        """Of all parts: ``runs``, ``finished``, ``to_train``."""
        return sum(getattr(part, what) for part in self.parts.values())

    @property
    def summary(self) -> str:
        """``60 runs, 20 finished, 40 to train (2 of them begun)``."""
        again = "; existing runs start over" * self.config.force
        found = [count_of(self.total("runs"), "run"), f"{self.total('finished')} finished"]
        found += [f"{self.failed} failed before (retry=true tries again)"] * bool(self.failed)
        begun = f" ({self.begun} of them begun)" if self.begun else ""
        return ", ".join([*found, f"{self.total('to_train')} to train{begun}{again}"])

    def time(self, jobs: int | None) -> str:
        """How long it takes one after another, and with ``jobs`` side by side."""
        each = [seconds for part in self.parts.values() for seconds in part.each]
        unknown = self.total("to_train") - len(each)
        if not self.total("to_train"):
            return "none"
        if not each:
            return "unknown: no run like these has finished yet"
        parts = [f"about {duration(sum(each))}"]
        at_once = min(jobs or 1, len(each))
        if at_once > 1:
            beside = max(*each, sum(each) / at_once)
            parts[0] += " one after another"
            parts.append(f"{duration(beside)} with {at_once} side by side")
        parts += [f"besides {count_of(unknown, 'run')} of unknown length"] * bool(unknown)
        return ", ".join(parts)

    @property
    def disk(self) -> str:
        """How much disk the runs to train will take, and how much is free."""
        there = Path(self.config.runs).absolute()
        while not there.exists():
            there = there.parent
        size = sum(sum(part.sizes) for part in self.parts.values())
        free = decimal(shutil.disk_usage(there).free)
        taken = f"about {decimal(round(size))} more" if size else "no more"
        return f"{taken} in {self.config.runs}, where {free} are free"

    def table(self) -> Table:
        """A line a part."""
        made = Table(box=None, pad_edge=False)
        for name in ("", "runs", "finished", "to train", "a run", "all", "as in", "on"):
            made.add_column(name, justify="left" if name in ("", "as in", "on") else "right")
        for part in self.parts.values():
            known = part.whole and len(part.whole) == part.to_train
            each = duration(median(part.whole)) if part.whole else "unknown"
            whole = duration(sum(part.each)) if known else "unknown"
            times = (each, whole) if part.to_train else ("-", "-")
            counts = (str(n) for n in (part.runs, part.finished, part.to_train))
            origin = (escape(_some(part.sources, 2)), escape(_some(part.devices, 1)))
            made.add_row(escape(part.title), *counts, *times, *origin)
        return made


def _is_finished(run: PlannedRun) -> bool:
    try:
        return reader.finished(run.directory) is not None
    except Unreadable:  # training it says so
        return False


def _some(sources: Iterable[str], at_most: int) -> str:
    listed = list(sources)
    return ", ".join([*listed[:at_most], *["..."] * (len(listed) > at_most)])
