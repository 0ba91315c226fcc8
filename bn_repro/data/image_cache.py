"""Small image sets, decoded once: one memory-mapped file of uint8 images for each split.

``open_cache`` opens the cache of a listing, or builds it: behind a lock, and under a temporary name
until the cache is complete. So several runs share one cache, which one of them builds. A cache that
exists is only read: it can be another user's, or lie on a read-only disk. Its name carries a key
over the source (paths, sizes, classes) and over how it is decoded. The SHA-256 of its content is
the fingerprint of the data set, and is checked when a process opens the cache. A cache with files
of the wrong size is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bn_repro.data import crops
from bn_repro.data.decode import CorruptImage, Quarantine, read
from bn_repro.data.listing import Listing, bytes_of
from bn_repro.records.paths import cache_folder

FORMAT = 1
"""Increase it when the same images give other files or pixels; older caches are then ignored."""
CHUNK = 256
LOG_SECONDS = 10
"""A log, which has no bar, gets a line so often while images are decoded."""
META = "meta.json"

_verified: set[tuple[Path, str]] = set()
"""The caches whose content this process has checked against their fingerprint."""


@dataclass(frozen=True)
class ImageCache:
    """A decoded set: images uint8 (N, size, size, 3) and labels int64 (N,) of each split.

    The images are a private memory map: writing to it changes no file. ``quarantined`` has a line
    for each file that could not be read. In "train" the next image took its place; elsewhere, where
    that would count twice, it is left out.
    """

    path: Path
    fingerprint: str
    classes: tuple[str, ...]
    quarantined: tuple[str, ...]
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    def verify(self) -> None:
        """Read the whole content; ValueError if it has changed since it was built."""
        if _fingerprint(self.classes, self.images, self.labels) != self.fingerprint:
            raise ValueError(
                f"{self.path}: the content has changed since it was built; remove this folder, and "
                f"the next run builds it again"
            )


def open_cache(
    listing: Listing,
    *,
    name: str,
    size: int,
    quarantine: Quarantine,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> ImageCache:
    """The cache of ``listing`` at ``size``; it is built if there is none.

    An image of another size has its largest central square resized. ``workers`` threads decode
    (default: one a core). Raises ValueError for files that ``quarantine`` does not accept, for a
    cache whose content has changed, and for a cache folder that cannot be read, or cannot be
    written to build one.
    """
    folder = Path(cache_dir) if cache_dir else cache_folder()
    path, splits = folder / f"{name}-{_key(listing, size)}", tuple(listing.paths)
    with _able_to("read", path):
        cache = _load(path, splits)
    if cache is None:
        with _able_to("write to", folder):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{path.name}.lock"):
                cache = _load(path, splits)  # others may have built it since
                if cache is None:
                    _build(listing, path, size, workers, quarantine, progress)
                    cache = _load(path, splits)
    assert cache is not None, f"{path} was built and does not load"
    # Once a process: measured on 676 MB in the page cache, 0.4 s of a core (with SHA extensions).
    if (path, cache.fingerprint) not in _verified:
        cache.verify()
        _verified.add((path, cache.fingerprint))
    quarantine.record(list(cache.quarantined))  # another run may have built it
    return cache


def _key(listing: Listing, size: int) -> str:
    """A digest of the files' names, sizes and classes, and of how they are decoded."""
    sha = hashlib.sha256(f"{FORMAT} {size} {listing.digest()}".encode())
    for split, paths in listing.paths.items():
        n = len(paths)
        sizes = [bytes_of(listing.path(split, i)) for i in range(n)]
        sha.update(np.array(sizes, np.int64).tobytes())
    return sha.hexdigest()[:16]


def _load(path: Path, splits: tuple[str, ...]) -> ImageCache | None:
    """The cache of these splits at ``path``; None if there is none, or not a complete one."""
    try:
        meta = json.loads((path / META).read_text())
        if any((path / name).stat().st_size != n for name, n in meta["bytes"].items()):
            return None
        if meta["quarantined"] and "left_out" not in meta:
            return None  # built when the next image took the place of a bad one in "val" too
        images, labels = _arrays(path, splits)
        return ImageCache(
            path=path,
            fingerprint=meta["sha256"],
            classes=tuple(meta["classes"]),
            quarantined=tuple(meta["quarantined"]),
            images=images,
            labels=labels,
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _arrays(
    folder: Path, splits: Iterable[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The images and the labels of each split."""
    images = {split: np.load(folder / f"{split}-images.npy", mmap_mode="c") for split in splits}
    labels = {split: np.load(folder / f"{split}-labels.npy") for split in splits}
    return images, labels


def _build(
    listing: Listing,
    path: Path,
    size: int,
    workers: int | None,
    quarantine: Quarantine,
    progress: bool,
) -> None:
    # The process that left these was killed: this one holds its lock.
    for left_over in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(left_over)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        total = sum(map(len, listing.labels.values()))
        left_out = 0
        with _bar(f"decoding {listing.root.name}", total, progress) as advance:
            for split in listing.labels:
                left_out += _decode_split(
                    listing, split, scratch, size, workers, quarantine, advance
                )
        meta = {
            "sha256": _fingerprint(listing.classes, *_arrays(scratch, listing.labels)),
            "classes": listing.classes,
            "root": str(listing.root),
            "quarantined": quarantine.reasons,
            "left_out": left_out,
            "bytes": {f.name: f.stat().st_size for f in sorted(scratch.iterdir())},
        }
        (scratch / META).write_text(json.dumps(meta, indent=1))
        scratch.chmod(0o755)  # a temporary folder is its maker's alone; a cache is for all
        for written in (*scratch.iterdir(), scratch):
            _to_disk(written)  # before it gets the name of a complete cache
        if path.exists():
            shutil.rmtree(path)  # not complete, or it would have been loaded
        scratch.rename(path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _decode_split(
    listing: Listing,
    split: str,
    folder: Path,
    size: int,
    workers: int | None,
    quarantine: Quarantine,
    advance: Callable[[int], None],
) -> int:
    """Decode a split into its files in ``folder``; returns how many images were left out.

    On threads: Pillow holds the interpreter's lock for a small part of the time only.
    """
    labels = listing.labels[split].copy()
    file = folder / f"{split}-images.npy"
    begin = _write_header(file, (len(labels), size, size, 3))
    missing: list[int] = []

    def write_chunk(start: int) -> tuple[int, list[str]]:
        block = np.empty((min(CHUNK, len(labels) - start), size, size, 3), np.uint8)
        faults: list[str] = []
        for k in range(len(block)):
            pixels, labels[start + k], failed = read(
                listing, split, start + k, crops.square, size, quarantine.limit, split == "train"
            )
            faults += failed
            if pixels is None:
                missing.append(start + k)
            else:
                block[k] = pixels[0]
        with open(file, "r+b") as f:  # not through a map: on a full disk that kills the process
            f.seek(begin + start * size * size * 3)
            f.write(block.data)
        return len(block), faults

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for done, faults in pool.map(write_chunk, range(0, len(labels), CHUNK)):
            quarantine.record(faults)
            advance(done)
    if len(missing) == len(labels):
        raise CorruptImage(f"{quarantine.reasons[-1]}; nor can any before it")
    if missing:  # rare, so the split is simply written again
        np.save(file, np.delete(np.load(file), missing, axis=0))
        labels = np.delete(labels, missing)
    np.save(folder / f"{split}-labels.npy", labels)
    return len(missing)


def _write_header(file: Path, shape: tuple[int, ...]) -> int:
    """Write the header of a .npy file of bytes with this shape; returns where its data begins."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with open(file, "wb") as f:
        np.lib.format.write_array_header_1_0(f, header)
        return f.tell()


def _to_disk(path: Path) -> None:
    """Flush a file's content, or a folder's names, to the disk, so that a crash cannot lose it."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _fingerprint(
    classes: tuple[str, ...], images: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> str:
    """SHA-256 of the classes, and of the labels and pixels of each split, in order."""
    sha = hashlib.sha256(json.dumps(classes).encode())
    for split in labels:
        for part, array in (("labels", labels[split]), ("images", images[split])):
            sha.update(f"{split} {part} {array.shape}".encode())
            sha.update(array.data)
    return sha.hexdigest()


@contextmanager
def _bar(title: str, total: int, visible: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console, begun, told, done = Console(stderr=True), time.monotonic(), 0.0, 0
    with Progress(*columns, console=console, disable=not visible) as bar:
        task = bar.add_task(title, total=total)

        def advance(n: int) -> None:
            nonlocal told, done
            done += n
            bar.advance(task, n)
            now = time.monotonic()
            if visible and not console.is_terminal and now - max(begun, told) > LOG_SECONDS:
                told = now
                print(f"{title}: {done:,} of {total:,} images", file=sys.stderr, flush=True)

        yield advance


@contextmanager
def _able_to(do: str, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"data.cache: cannot {do} {place} ({error.strerror or error}); "
            f"give another folder, with room, by data.cache=..."
        ) from error
