"""Data sets fetched once, by torchvision's downloader, into a folder that several runs share.

One process fetches while the others wait. It works in a scratch folder beside the files, checks
what comes against published checksums, and stops at a signal; the next keeps what is whole by then.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, wait
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from bn_repro import stop_signal
from bn_repro.data.archives import plain_member
from bn_repro.records.files import waiting_for

TIMEOUT_S = 30.0
"""How long to wait for a silent server."""
BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError)
"""What a damaged archive raises."""


class Published(NamedTuple):
    """A data set as its authors publish it: one archive (.zip or .tar.gz) of one folder."""

    url: str
    md5: str
    folder: str
    """The folder in the archive."""
    last: str
    """The entry that is moved into place last: where it is there, the set is complete."""


def fetch_once(
    folder: Path, there: Callable[[], bool], fetch: Callable[[Path], object], what: str, give: str
) -> None:
    """Call ``fetch(scratch)``, which makes ``folder`` whole, unless it is ``there``.

    ``what`` is fetched; ``give`` says what else can be done. Raises ValueError, in one line, where
    it cannot be fetched, with nothing left of it; KeyboardInterrupt where the process is asked to
    stop, with the scratch folder kept.
    """
    if there():
        return
    timeout, scratch = socket.getdefaulttimeout(), folder / ".download"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Of several runs one downloads; a file appears under its name only when it is whole.
        with waiting_for(folder / "download.lock"):
            if not there():
                socket.setdefaulttimeout(TIMEOUT_S)
                fetch(scratch)
                shutil.rmtree(scratch)
    except (OSError, RuntimeError, ImportError, HTTPException, *BROKEN) as error:
        shutil.rmtree(scratch, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data.root: {what} cannot be downloaded to {folder}: {reason}; {give}"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def fetch_archive(published: Published, root: Path, place: Path, is_root: str) -> None:
    """Put the published folder's files into ``place``, in or at ``root``, unless they are there.

    A whole archive that lies in ``root`` already is not downloaded again. ``is_root`` says to one
    who has the files what their ``data.root`` is. Raises as :func:`fetch_once`.
    """
    give = f"unpack {published.url} yourself, and give data.root, {is_root}"

    def fetch(scratch: Path) -> None:
        from torchvision.datasets.utils import check_integrity  # takes seconds; few runs need it

        name = published.url.rpartition("/")[2]
        # A file of its name that is another one is the user's, and stays.
        whole = (root / name).is_file() and check_integrity(root / name, published.md5)
        folder = root if whole else scratch
        unpack(_downloaded(published, folder / name), scratch / "unpacked")
        _into_place(scratch / "unpacked" / published.folder, place, published.last)

    fetch_once(root, (place / published.last).exists, fetch, published.folder, give)


def _downloaded(published: Published, file: Path) -> Path:
    """The archive, fetched unless it is there and whole."""
    from torchvision.datasets.utils import download_url  # takes seconds, and few runs need it

    if not file.is_file():
        print(f"downloading {published.url} to {file.parent}", file=sys.stderr, flush=True)
    try:
        in_background(lambda: download_url(published.url, file.parent, file.name, published.md5))
    except KeyboardInterrupt:
        print(file=sys.stderr)  # torchvision's percentage has no end of line
        raise
    return file


def unpack(archive: Path, folder: Path) -> None:
    """Extract a .zip or a tar into ``folder``, but for the files that are there.

    Nothing is written outside ``folder``. Raises KeyboardInterrupt where the process is asked to
    stop, with what is extracted kept.
    """
    if not zipfile.is_zipfile(archive):
        with tarfile.open(archive) as members:
            members.extractall(folder, filter=plain_member)
        return
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            stop_signal.check()
            _extract(members, member, folder)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Extract one member, within ``folder``; it gets its name only when it is whole."""
    target = folder / member.filename
    if member.is_dir() or (target.is_file() and target.stat().st_size == member.file_size):
        return
    made = archive.extract(member, folder / ".part")
    target = folder / os.path.relpath(made, folder / ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, target)


def _into_place(made: Path, place: Path, last: str) -> None:
    """Rename what lies in ``made`` into ``place``, ``last`` at the end."""
    place.mkdir(exist_ok=True)
    for entry in sorted(made.iterdir(), key=lambda entry: (entry.name == last, entry.name)):
        target = place / entry.name
        if not target.exists():
            entry.rename(target)


def in_background(function: Callable[[], object]) -> None:
    """Call ``function`` in a thread, and look at the stop flag while it works."""
    done: Future[None] = Future()

    def call() -> None:
        try:
            function()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    while not done.done():
        stop_signal.check()
        wait([done], timeout=0.1)
    done.result()
