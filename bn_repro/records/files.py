"""Files written so that a reader meets them whole, a run's lock, and a run moved out of the way."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bn_repro import stop_signal
from bn_repro.records import paths

FOLDERS_OPEN = os.name != "nt"
"""Windows cannot open a folder to fsync it, and its file system needs no such call."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``path`` so that a reader, or a crash at any moment, meets the old file or the new."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Flush a file's content, or a folder's names, to the disk, so that a crash cannot lose it."""
    if path.is_dir() and not FOLDERS_OPEN:
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def ensure_writable(directory: Path) -> None:
    """ValueError where the run in ``directory`` could not be written."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        paths.lock_file(directory).touch()
        if directory.exists() and not directory.is_dir():
            raise FileExistsError(None, f"{directory.name} is a file")
    except OSError as error:
        raise ValueError(
            f"runs: cannot write to {directory.parent} ({error.strerror}); "
            f"give a writable folder with runs=..."
        ) from error


def lock_or_refuse(directory: Path) -> AbstractContextManager[object]:
    """Hold the lock of the run in ``directory``; ValueError where another process trains it."""
    try:
        return FileLock(paths.lock_file(directory)).acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{directory}: another process is training this run; stop it, or wait for its end"
        ) from None


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``, once others have let it go; KeyboardInterrupt where this process
    is asked to stop before."""
    lock = FileLock(path)
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire(timeout=0.5)
        if not lock.is_locked:
            stop_signal.check()
    try:
        yield
    finally:
        lock.release()


def archive_run(directory: Path, log: Callable[[str], None] = print) -> None:
    """Rename a run's directory, adding the time to its name; nothing is ever deleted.

    The caller holds the run's lock.
    """
    if not directory.exists():
        return
    dated = archive = directory.with_name(f"{directory.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while archive.exists():
        number += 1
        archive = dated.with_name(f"{dated.name}-{number}")
    shutil.move(directory, archive)
    log(f"{directory}: the earlier run was moved to {archive.name}")
