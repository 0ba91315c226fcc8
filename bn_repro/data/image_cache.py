"""Small image sets, decoded once: one memory-mapped file of uint8 images for each split.

``open_cache`` opens the cache of a listing, or builds it: behind a lock, and under a temporary name
until the cache is complete; what a stopped process has decoded, the next one keeps. So several runs
share one cache, which one of them builds. A cache that exists is only read: it can be another
user's, or lie on a read-only disk. Its name carries a key over the source (paths, sizes, classes,
the content of some files) and over how it is decoded. The SHA-256 of its content is the fingerprint
of the data set, and is checked when a process opens the cache. A cache with files of the wrong size
is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bn_repro.data.chunks import decode_split, images_of, write_rest
from bn_repro.data.decode import Quarantine
from bn_repro.data.listing import Listing
from bn_repro.records.files import to_disk, waiting_for
from bn_repro.records.paths import cache_folder

FORMAT = 1
"""Increase it when the same images give other files or pixels; older caches are then ignored."""
LOG_SECONDS = 10
"""Between two lines about decoding, where the output is not a terminal."""
META = "meta.json"
SAMPLED = 64
"""Of so many files of a split, evenly spaced, the content is part of a cache's name."""

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
        if fingerprint_of(self.classes, self.images, self.labels) != self.fingerprint:
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
            with waiting_for(folder / f"{path.name}.lock"):
                cache = _load(path, splits)  # others may have built it since
                if cache is None:
                    _build(listing, path, size, workers, quarantine)
                    cache = _load(path, splits)
    assert cache is not None, f"{path} was built and does not load"
    # Once a process: measured on 676 MB in the page cache, 0.4 s of a core (with SHA extensions).
    if (path, cache.fingerprint) not in _verified:
        cache.verify()
        _verified.add((path, cache.fingerprint))
    quarantine.record(list(cache.quarantined))  # another run may have built it
    return cache


def _key(listing: Listing, size: int) -> str:
    """A digest of the files' names, sizes and classes, of how they are decoded, and of the content
    of some: two sets may have the same names and sizes."""
    sha = hashlib.sha256(f"{FORMAT} {size} {listing.digest()}".encode())
    for paths in listing.paths.values():
        sha.update(np.array(listing.sizes(paths), np.int64).tobytes())
        count = min(len(paths), SAMPLED)
        for path in paths[np.arange(count) * len(paths) // max(1, count)]:
            with suppress(OSError):  # which decoding reports
                sha.update((listing.root / os.fsdecode(path)).read_bytes())
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
    images = {split: np.load(folder / images_of(split), mmap_mode="c") for split in splits}
    labels = {split: np.load(folder / f"{split}-labels.npy") for split in splits}
    return images, labels


def _build(
    listing: Listing, path: Path, size: int, workers: int | None, quarantine: Quarantine
) -> None:
    # A stopped or killed process may have left this; its lock is ours now, so we go on with it.
    scratch = path.with_name(f".{path.name}.partial")
    for left_over in set(path.parent.glob(f".{path.name}.*")) - {scratch}:
        shutil.rmtree(left_over)
    scratch.mkdir(exist_ok=True)
    try:
        total = sum(map(len, listing.labels.values()))
        decoded = {}
        with _bar(f"decoding {listing.root.name}", total) as advance:
            for split in listing.labels:
                decoded[split] = decode_split(
                    listing, split, scratch, size, workers, quarantine, advance
                )
        left_out = sum(write_rest(scratch, split, decoded[split]) for split in decoded)
        meta = {
            "sha256": fingerprint_of(listing.classes, *_arrays(scratch, listing.labels)),
            "classes": listing.classes,
            "root": str(listing.root),
            "quarantined": quarantine.reasons,
            "left_out": left_out,
            "bytes": {f.name: f.stat().st_size for f in sorted(scratch.glob("*.npy"))},
        }
        (scratch / META).write_text(json.dumps(meta, indent=1))
        scratch.chmod(0o755)  # other users may open it; the files keep the umask
        for written in (*scratch.iterdir(), scratch):
            to_disk(written)  # before it gets the name of a complete cache
        if path.exists():
            shutil.rmtree(path)  # not complete, or it would have been loaded
        scratch.rename(path)
        to_disk(path.parent)
    except Exception:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def fingerprint_of(
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
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console, done, logged = Console(stderr=True), 0, time.monotonic()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)

        def advance(n: int) -> None:
            nonlocal done, logged
            done += n
            bar.advance(task, n)
            now = time.monotonic()
            if not console.is_terminal and now - logged > LOG_SECONDS:
                logged = now
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
