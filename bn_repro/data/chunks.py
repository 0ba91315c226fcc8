"""A split decoded into one file of images, chunk by chunk; what is done survives a stop or a kill.

A log beside the file has a line for each chunk whose pixels are on the disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from bn_repro import stop_signal
from bn_repro.data import crops
from bn_repro.data.decode import CorruptImage, Quarantine, read
from bn_repro.data.listing import Listing

CHUNK = 256


class Chunk(NamedTuple):
    """Some images of a split, decoded: the first one's index, the labels, a line for each file that
    could not be read, and the indices of the images that have no pixels."""

    start: int
    labels: list[int]
    faults: list[str]
    missing: list[int]


def decode_split(
    listing: Listing,
    split: str,
    folder: Path,
    size: int,
    workers: int | None,
    quarantine: Quarantine,
    advance: Callable[[int], None],
) -> list[Chunk]:
    """Decode a split into its file of images in ``folder``, except the chunks decoded already.

    On threads: Pillow holds the interpreter's lock for a small part of the time only. Raises
    KeyboardInterrupt, with the chunks done so far kept, where the process is asked to stop.
    """
    n, file = len(listing.labels[split]), folder / images_of(split)
    kept = _kept(folder / log_of(split), n)
    begin = _write_header(file, (n, size, size, 3), anew=not kept)

    def decode_chunk(start: int) -> Chunk:
        block = np.zeros((min(CHUNK, n - start), size, size, 3), np.uint8)
        chunk = Chunk(start, [], [], [])
        for k in range(len(block)):
            pixels, label, failed = read(
                listing, split, start + k, crops.square, size, quarantine.limit, split == "train"
            )
            chunk.labels.append(label)
            chunk.faults.extend(failed)
            if pixels is None:
                chunk.missing.append(start + k)
            else:
                block[k] = pixels[0]
        _write_at(file, begin + start * size * size * 3, block)
        with one_at_a_time:
            print(json.dumps(chunk), file=log, flush=True)
        return chunk

    chunks: list[Chunk] = []
    one_at_a_time = Lock()
    log = open(folder / log_of(split), "a")  # noqa: SIM115 (its writers are waited for below)
    print(file=log)  # after a torn line
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        fresh = pool.map(decode_chunk, (s for s in range(0, n, CHUNK) if s not in kept))
        for start in range(0, n, CHUNK):
            stop_signal.check()
            chunk = kept[start] if start in kept else next(fresh)
            chunks.append(chunk)
            quarantine.record(chunk.faults)
            advance(len(chunk.labels))
    finally:
        pool.shutdown(cancel_futures=True)
        log.close()
    if sum(len(chunk.missing) for chunk in chunks) == n:
        raise CorruptImage(f"{quarantine.reasons[-1]}; nor can any before it")
    return chunks


def write_rest(folder: Path, split: str, chunks: list[Chunk]) -> int:
    """Write the labels of a split that is decoded, and leave out the images that have no pixels;
    returns how many."""
    (folder / log_of(split)).unlink()  # from here on a kill has the split decoded again
    labels = np.array([label for chunk in chunks for label in chunk.labels], np.int64)
    missing = [index for chunk in chunks for index in chunk.missing]
    if missing:  # rare, so the split is simply written again
        file = folder / images_of(split)
        np.save(file, np.delete(np.load(file), missing, axis=0))
        labels = np.delete(labels, missing)
    np.save(folder / f"{split}-labels.npy", labels)
    return len(missing)


def _kept(log: Path, n: int) -> dict[int, Chunk]:
    """The chunks in a log of ``n`` images, by start; a torn line is skipped."""
    lines = log.read_text().splitlines() if log.exists() else []
    chunks = {}
    for line in lines:
        with suppress(ValueError, TypeError):
            chunk = Chunk(*json.loads(line))
            if len(chunk.labels) == min(CHUNK, n - chunk.start):
                chunks[chunk.start] = chunk
    return chunks


def _write_at(file: Path, start: int, block: np.ndarray) -> None:
    """Write the bytes of ``block``, to the disk: after this a log may say that they are there."""
    with open(file, "r+b") as f:  # not through a map: on a full disk that kills the process
        f.seek(start)
        f.write(block.data)
        f.flush()
        os.fsync(f.fileno())


def images_of(split: str) -> str:
    return f"{split}-images.npy"


def log_of(split: str) -> str:
    return f"{split}-chunks.jsonl"


def _write_header(file: Path, shape: tuple[int, ...], anew: bool) -> int:
    """Write the header of a .npy file of bytes with this shape; returns where its data begins."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with open(file, "wb" if anew else "r+b") as f:
        np.lib.format.write_array_header_1_0(f, header)
        return f.tell()
