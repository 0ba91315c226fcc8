"""What a run leaves behind: metrics, traces, timing, status, manifest; and their mirror.

Local records are the truth. Rows are appended whole and never depend on a clock, except those of
``timing.jsonl``. A resumed run first cuts its files back to its checkpoint, so that it writes the
rows an uninterrupted run would have written, byte for byte where a step computes the same each time
(a GPU's kernels may sum in another order).
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from bn_repro.records import paths
from bn_repro.records.files import write_json
from bn_repro.records.reader import (
    Outcome,
    finished,
    last_status,
    quarantined,
    read_manifest,
    read_status,
)

SERIES = (paths.METRICS, paths.TRACES, paths.TIMING)


class Mirror(Protocol):
    """Where records are shown besides the run directory. It must never end a run."""

    def begin(self, directory: Path) -> None:
        """Show what the records in ``directory`` hold already."""
        ...

    def row(self, row: Mapping[str, Any]) -> None:
        """Show a row of metrics, traces or timing, as it was recorded."""
        ...

    def finish(self, state: str) -> None:
        """Close with the run's last state."""
        ...


class NoMirror:
    """The absence of a mirror."""

    def begin(self, directory: Path) -> None:
        """Show nothing."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Show nothing."""

    def finish(self, state: str) -> None:
        """Close nothing."""


class Record(Protocol):
    """What the trainer writes to."""

    def metrics(
        self, step: int, split: str, statistics: str, values: Mapping[str, float]
    ) -> None: ...

    def traces(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def timing(self, row: Mapping[str, Any]) -> None: ...

    def lengths(self) -> dict[str, int]: ...

    def quarantined(self, lines: Sequence[str]) -> list[str]: ...

    def status(self, state: str, step: int, seconds: float, error: str | None = None) -> None: ...

    def close(self) -> None: ...


class NoRecord:
    """The record of every rank but the first: none."""

    def metrics(self, step: int, split: str, statistics: str, values: Mapping[str, float]) -> None:
        """Write nothing."""

    def traces(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write nothing."""

    def timing(self, row: Mapping[str, Any]) -> None:
        """Write nothing."""

    def lengths(self) -> dict[str, int]:
        """Nothing is on the disk."""
        return {}

    def quarantined(self, lines: Sequence[str]) -> list[str]:
        """Write nothing, and so have nothing to tell."""
        return []

    def status(self, state: str, step: int, seconds: float, error: str | None = None) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Nothing is open."""


class Recorder:
    """The open records of one run in ``directory``; ``lengths`` are those of its checkpoint."""

    def __init__(
        self,
        directory: Path,
        lengths: Mapping[str, int] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.directory = directory
        self.mirror: Mirror = mirror or NoMirror()
        wanted = {directory / name: (lengths or {}).get(name, 0) for name in SERIES}
        for path, length in wanted.items():
            size = path.stat().st_size if path.exists() else 0
            if size < length:
                raise ValueError(
                    f"{path}: {size} bytes where its checkpoint knew {length}; "
                    f"the record was altered, start over with force=true"
                )
        self._files = {}
        for path, length in wanted.items():
            file = open(path, "ab")  # noqa: SIM115 (closed by close())
            file.truncate(length)
            file.seek(length)  # truncating leaves the position, and lengths() tells it
            self._files[path.name] = file
        self.mirror.begin(directory)

    def metrics(self, step: int, split: str, statistics: str, values: Mapping[str, float]) -> None:
        """A row of ``metrics.jsonl``; ``values`` are loss, top1, ... (accuracies as fractions)."""
        row = {"step": step, "split": split, "statistics": statistics, **values}
        self._append(paths.METRICS, [row])

    def traces(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of ``traces.jsonl``, all of one step."""
        self._append(paths.TRACES, rows)

    def timing(self, row: Mapping[str, Any]) -> None:
        """A row of ``timing.jsonl``: all that a clock had a part in."""
        self._append(paths.TIMING, [row])

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
        self._files[name].write("".join(json.dumps(row) + "\n" for row in plain).encode())
        self._files[name].flush()
        for row in plain:
            self.mirror.row(row)

    def lengths(self) -> dict[str, int]:
        """The records' lengths in bytes, once they are on the disk: what a checkpoint remembers."""
        for file in self._files.values():
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def quarantined(self, lines: Sequence[str]) -> list[str]:
        """Add files that could not be read to ``manifest.json``; those that it did not have yet.

        It has their ``count`` and their lines (``files``), of all times that the run was resumed.
        """
        known = quarantined(self.directory)
        new = [line for line in lines if line not in known]
        if new:
            found = {"count": len(known) + len(new), "files": known + new}
            facts = read_manifest(self.directory) | {"quarantined": found}
            write_json(self.directory / paths.MANIFEST, facts)
        return new

    def status(self, state: str, step: int, seconds: float, error: str | None = None) -> None:
        """Replace ``status.json``."""
        write_status(self.directory, state, step, seconds, error)

    def close(self) -> None:
        """Close the records; the mirror is told the last state."""
        for file in self._files.values():
            file.close()
        status = read_status(self.directory)
        # A run that is still running here is closed by an error, whose record comes later.
        state = status.get("state", "running")
        self.mirror.finish("failed" if state == "running" else state)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_status(
    directory: Path, state: str, step: int, seconds: float, error: str | None = None
) -> None:
    """Replace the ``status.json`` of ``directory`` atomically."""
    status = {"state": state, "step": step, "seconds": round(seconds, 3), "error": error}
    write_json(directory / paths.STATUS, status)


def manifest(*, device: str, hardware: str, engine: str, world: int, data: str) -> dict[str, Any]:
    """What this run was made with, and by."""
    commit, dirty = _commit()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("bn-repro", "torch", "torchvision", "numpy")},
        },
        "device": device,
        "hardware": hardware,
        "engine": engine,
        "world": world,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": data,
    }


def _commit() -> tuple[str | None, bool]:
    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def mark_as_lost(directory: Path, reason: str) -> Outcome:
    """The outcome of a run whose process died; its status says so if no other took it over."""
    before = last_status(directory)
    lock = FileLock(paths.lock_file(directory))
    try:
        with lock.acquire(timeout=0):
            done = finished(directory)
            if done is not None:  # it had ended, and died before it could tell
                return done
            if directory.is_dir():
                write_status(directory, "failed", before.step, before.seconds, reason)
    except (Timeout, OSError):
        pass
    return Outcome("failed", before.step, before.seconds, error=reason)
