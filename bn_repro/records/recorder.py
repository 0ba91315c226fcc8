"""Writes what a run leaves behind: metrics, traces, histograms, timing, status and manifest.

Local records are the truth. Rows are appended whole, and only those of ``timing.jsonl`` and of the
probe ``cost`` depend on a clock. A resumed run first cuts its files back to its checkpoint, so it
writes the rows that an uninterrupted run would have written, byte for byte where a step computes
the same each time (a GPU's kernels may sum in another order).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from bn_repro.records import paths
from bn_repro.records.commit import commit_of_code
from bn_repro.records.errors import Unreadable
from bn_repro.records.files import write_atomically, write_json
from bn_repro.records.reader import (
    FINISHED,
    UNREADABLE,
    Outcome,
    finished,
    last_status,
    quarantined,
    read_manifest,
)

Written = tuple[int, str | None]
"""The length in bytes of a file of rows, and its SHA-256; None: an older version kept none."""
OPTIONAL_FILES = (paths.PROBES, paths.HISTOGRAMS)
"""Files that exist only once a run records such a row."""
ROW_FILES = (paths.METRICS, paths.TRACES, paths.TIMING, *OPTIONAL_FILES)
CAUSES = ("signal", "lost", "data", "disk", "divergence", "other")
"""Why a run ended: it was asked to stop; its process died; a data file could not be read; a file
could not be written; its loss was not finite; another error. null: it completed, or is running."""


class Logger:
    """Another place that shows a run's records, which it reads from its directory. It must never
    end a run, nor have it wait. As it stands here it shows nothing."""

    def begin(self, directory: Path) -> None:
        """Show the records in ``directory``, which from now on only grow."""

    def finish(self, state: str) -> None:
        """Close with the run's last state."""


class Record:
    """What the training loop writes to. As it stands here it is the record of every rank but the
    first, and writes nothing."""

    def metrics(self, step: int, split: str, statistics: str, values: Mapping[str, float]) -> None:
        """A row of ``metrics.jsonl``; ``values`` are loss, top1, ... (accuracies as fractions)."""

    def traces(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of ``traces.jsonl``, all of one step."""

    def probes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of ``probes.jsonl``, all of one step."""

    def histograms(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of ``histograms.jsonl``, all of one step."""

    def timing(self, row: Mapping[str, Any]) -> None:
        """A row of ``timing.jsonl``: whatever depends on a clock."""

    def correct(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace ``correct.npz``, where there is anything to write."""

    def written(self) -> dict[str, Written]:
        """What is in the files, once it is on the disk, for a checkpoint to remember."""
        return {}

    def quarantined(self, lines: Sequence[str]) -> list[str]:
        """Add data files that could not be read to ``manifest.json``; gives the new ones.

        The manifest has their ``count`` and a line for each (``files``), over all resumes.
        """
        return []

    def status(self, outcome: Outcome) -> None:
        """Replace ``status.json``."""

    def close(self, state: str | None = None) -> None:
        """Close the files, and the logger with the run's last state, or with ``state``."""


class RecordsGone(OSError):
    """A run's files were removed, or others put in their place, while it trained."""


class Recorder(Record):
    """The open records of the run in ``directory``, cut back to what its checkpoint remembers as
    ``written`` (nothing of a file it does not name).

    ValueError where a file no longer begins with that: somebody altered it. correct(), written(),
    quarantined() and status() raise RecordsGone where a file is missing or replaced: a status
    written then would vouch for records that do not exist.
    """

    def __init__(
        self,
        directory: Path,
        written: Mapping[str, Written] | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.directory = directory
        self.logger = logger or Logger()
        wanted = {name: (written or {}).get(name, (0, None)) for name in ROW_FILES}
        self._sums = {name: _checked_sum(directory / name, *wanted[name]) for name in ROW_FILES}
        self._files: dict[str, Any] = {}
        for name, (length, _) in wanted.items():
            if name not in OPTIONAL_FILES or (directory / name).exists():
                self._open(name, length)
        self.logger.begin(directory)

    def _open(self, name: str, length: int) -> None:
        file = open(self.directory / name, "ab")  # noqa: SIM115 (closed by close())
        file.truncate(length)
        file.seek(length)  # truncating leaves the position, which written() reads
        self._files[name] = file

    def metrics(self, step: int, split: str, statistics: str, values: Mapping[str, float]) -> None:
        row = {"step": step, "split": split, "statistics": statistics, **values}
        self._append(paths.METRICS, [row])

    def traces(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._append(paths.TRACES, rows)

    def probes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._append(paths.PROBES, rows)

    def histograms(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._append(paths.HISTOGRAMS, rows)

    def timing(self, row: Mapping[str, Any]) -> None:
        self._append(paths.TIMING, [row])

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if name not in self._files:
            self._open(name, 0)
        plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
        content = "".join(json.dumps(row) + "\n" for row in plain).encode()
        self._files[name].write(content)
        self._files[name].flush()
        self._sums[name].update(content)

    def correct(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._check_there()
        if arrays:
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
            write_atomically(self.directory / paths.CORRECT, buffer.getvalue())

    def written(self) -> dict[str, Written]:
        self._check_there()
        for file in self._files.values():
            os.fsync(file.fileno())
        return {name: (f.tell(), self._sums[name].hexdigest()) for name, f in self._files.items()}

    def quarantined(self, lines: Sequence[str]) -> list[str]:
        before = quarantined(self.directory)
        new = [line for line in lines if line not in before]
        if new:
            both = {"count": len(before) + len(new), "files": before + new}
            self._check_there()
            facts = read_manifest(self.directory) | {"quarantined": both}
            write_json(self.directory / paths.MANIFEST, facts)
        return new

    def status(self, outcome: Outcome) -> None:
        self._check_there()
        if outcome.state in FINISHED:  # no row of a run that says so may be lost with the power
            self.written()
        write_status(self.directory, outcome)

    def _check_there(self) -> None:
        for name, file in self._files.items():
            try:
                there = os.path.samestat(os.stat(self.directory / name), os.fstat(file.fileno()))
            except (FileNotFoundError, NotADirectoryError):
                there = False
            if not there:
                raise RecordsGone(
                    f"{self.directory / name}: removed, or replaced, while the run trained; "
                    f"start over with force=true"
                )

    def close(self, state: str | None = None) -> None:
        try:
            for file in self._files.values():
                file.close()
        finally:  # on a full disk closing fails, too
            state = state or last_status(self.directory).state
            # Still "running": an error closes the run, and is recorded after this.
            self.logger.finish("failed" if state in ("running", UNREADABLE) else state)


def _checked_sum(path: Path, length: int, sha256: str | None) -> Any:
    """The running SHA-256 of the first ``length`` bytes; ValueError where they are others."""
    content = path.read_bytes()[:length] if path.exists() else b""
    found = hashlib.sha256(content)
    if len(content) < length:
        what = f"{len(content)} bytes, but its checkpoint recorded {length}"
    elif sha256 not in (None, found.hexdigest()):
        what = f"its first {length} bytes are not those that its checkpoint recorded"
    else:
        return found
    raise ValueError(
        f"{path}: {what}; the file was altered: bring it back, or start over with force=true"
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_status(directory: Path, outcome: Outcome) -> None:
    """Replace ``status.json`` atomically; for ``cause`` see :data:`CAUSES`."""
    o = outcome
    status = {"state": o.state, "step": o.step, "seconds": round(o.seconds, 3)}
    write_json(directory / paths.STATUS, {**status, "cause": o.cause, "error": o.error})


def manifest(
    *,
    device: str,
    hardware: str,
    engine: str,
    threads: int,
    world: int,
    examples: Mapping[str, Any],
) -> dict[str, Any]:
    """``manifest.json``: the commit, versions, machine, command and data of a run.

    ``examples`` is what it says of the data: ``data`` (the fingerprint), ``classes``, ``shape``.
    """
    commit, dirty = commit_of_code()
    return {
        "commit": commit,
        "dirty": dirty,
        "source": "wheel" if paths.CHECKOUT is None else "checkout",
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("bn-repro", "torch", "torchvision", "numpy")},
        },
        "device": device,
        "hardware": hardware,
        "engine": engine,
        "threads": threads,
        "world": world,
        "command": shlex.join([*Path(sys.argv[0]).name.split(), *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **examples,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # imported from PYTHONPATH, not installed
        return None


def mark_as_lost(directory: Path, error: str, cause: str = "lost") -> Outcome:
    """Record, and give, the outcome of a run whose process died before it could.

    Nothing is written where another process has taken the run over.
    """
    before = last_status(directory)
    lost = Outcome("failed", before.step, before.seconds, error=error, cause=cause)
    lock = FileLock(paths.lock_file(directory))
    try:
        with lock.acquire(timeout=0):
            done = finished(directory)
            if done is not None:  # it had finished, and died before it could say so
                return done
            if directory.is_dir():
                write_status(directory, lost)
    except (Timeout, OSError, Unreadable):
        pass
    return lost
