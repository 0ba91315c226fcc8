"""MNIST: the binary digits of section 4.1, shipped with the package, and any set of IDX files.

``mnist_binary`` reads the packed set beside this module and checks its SHA-256. ``mnist_grey``
reads four files in MNIST's own format, from a folder or downloaded.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from bn_repro.data.batches import SHUFFLINGS, Batches, Cut, Order, Picture, to_device
from bn_repro.data.idx import Digits, downloaded, read_idx_set
from bn_repro.data.resident import Resident
from bn_repro.data.subset import drawn

PACKED = Path(__file__).parent / "mnist_binary" / "digits.xz"
PACKED_SPLITS = {
    "train": (60_000, "ff23dcd6ab28c72f1dc7b1edd087d7ca8b7e2a683d4633bbf3fde816d926f79b"),
    "test": (10_000, "34abda6bcbb954438b776fb93d7b27a8d5aa66791f14055a8791becc3c6cbe81"),
}
"""For each split in ``PACKED``, in its order: the number of images and the content's SHA-256."""

SIDE = 32
"""The side to which digits are padded for a network that takes coloured images."""

AHEAD = 32
"""How many mini-batches are fetched at once; one by one, section 4.1's step takes 2 % longer."""


@dataclass(frozen=True)
class Part:
    """Which training images are used, and how they are shuffled.

    The last ``held_out``, by index, are the split "val". The split "train" is all images before
    them, or ``limit`` of these, drawn without replacement from ``limit_seed``; with the same seed a
    smaller draw is part of a larger one.
    """

    held_out: int = 0
    limit: int | None = None
    limit_seed: int = 0
    shuffling: str = "full"

    def chosen(self, n: int) -> tuple[slice | np.ndarray, int]:
        """Which of ``n`` images are trained on, and the first of the held-out ones.

        Raises ValueError for numbers that ``n`` does not allow, and for an unknown shuffling.
        """
        if not 0 <= self.held_out < n:
            raise ValueError(
                f"data.held_out: {self.held_out} of {n} training images leave none to train on; "
                f"hold out 0 to {n - 1}"
            )
        kept = n - self.held_out
        if self.limit is not None and not 0 < self.limit <= kept:
            raise ValueError(
                f"data.limit: {self.limit} training images wanted, but there are {kept} "
                f"({n} less {self.held_out} held out)"
            )
        if self.shuffling not in SHUFFLINGS:
            raise ValueError(f"data.shuffling: {self.shuffling!r} is unknown; one of {SHUFFLINGS}")
        if self.limit is None:
            return slice(0, kept), kept
        return drawn(kept, self.limit, self.limit_seed), kept


ALL = Part()
"""All training images, none held out."""


class DigitRows(Resident):
    """A set of small labelled images, each image one row, or, where ``coloured``, :func:`coloured`.

    x is float32 (B, H*W) or (B, 3, S, S) in [0, 1], y int64 (B,). ``part`` makes "train" and, where
    images are held out, "val"; "test" is always whole. ``white`` is the largest value of a stored
    pixel.
    """

    def __init__(
        self,
        name: str,
        train: Digits,
        test: Digits,
        part: Part,
        *,
        classes: int,
        white: int,
        coloured: bool = False,
    ) -> None:
        chosen, kept = part.chosen(len(train.labels))
        stored = {"train": (train.images[chosen], train.labels[chosen])}
        if part.held_out:
            stored["val"] = (train.images[kept:], train.labels[kept:])
        stored["test"] = (test.images, test.labels)
        super().__init__(
            {s: (_shared(x).flatten(1), _shared(y).long()) for s, (x, y) in stored.items()}
        )
        self._white = white
        self.shuffling = part.shuffling

        self.name = name
        self.classes = classes
        self._image = train.images.shape[1:] if coloured else None
        side = max(SIDE, *train.images.shape[1:])
        height, width = train.images.shape[1:]
        self.picture = Picture((3, side, side) if coloured else (1, height, width))
        self.shape = self.picture.shape if coloured else (height * width,)
        content = {
            "train": train.digest,
            "test": test.digest,
            "image": train.images.shape[1:],
            "held_out": part.held_out,
            "drawn": None if isinstance(chosen, slice) else _sha256(chosen.tobytes()),
        }
        self.fingerprint = _sha256(json.dumps(content, sort_keys=True).encode())

    def _train_batches(self, order: Order, seed: int, device: torch.device | str) -> Batches:
        x, y = self.on(device, "train")
        while ahead := [index for _, index in islice(order, AHEAD)]:
            index, size = to_device(torch.cat(ahead), y.device), len(ahead[0])
            pixels, labels = (of.index_select(0, index).split(size) for of in (x, y))
            yield from zip(map(self._inputs, pixels), labels, strict=True)

    def _eval_batches(self, split: str, cuts: Iterator[Cut], device: torch.device | str) -> Batches:
        x, y = self.on(device, split)
        return ((self._inputs(x[cut]), y[cut]) for cut in cuts)

    def _inputs(self, pixels: torch.Tensor) -> torch.Tensor:
        # Kept as bytes and widened here: gathering 60 rows takes a quarter of the time of floats.
        x = pixels.to(torch.float32)
        x = x if self._white == 1 else x.div_(self._white)
        return x if self._image is None else coloured(x.view(-1, *self._image))


def _shared(array: np.ndarray) -> torch.Tensor:
    """A tensor on the array's own memory, where torch takes that: it must be writable."""
    return torch.from_numpy(np.require(array, requirements="W"))


def coloured(x: torch.Tensor) -> torch.Tensor:
    """Grey images (B, H, W) as coloured ones (B, 3, S, S): padded by black, one channel repeated.

    S is :data:`SIDE`, or the image's own longer side where that is more; channels come last.
    """
    side = max(SIDE, *x.shape[1:])
    top, left = ((side - n) // 2 for n in x.shape[1:])
    around = (left, side - x.shape[2] - left, top, side - x.shape[1] - top)
    repeated = F.pad(x, around)[:, None].expand(-1, 3, -1, -1)
    return repeated.contiguous(memory_format=torch.channels_last)


def mnist_binary(part: Part = ALL, *, coloured: bool = False) -> DigitRows:
    """MNIST's 60,000 + 10,000 digits, each pixel 0 or 1 (> 127), from the file in this package."""
    train, test = _read_packed(PACKED)
    return DigitRows("mnist_binary", train, test, part, classes=10, white=1, coloured=coloured)


def mnist_grey(
    root: str | Path | None = None, part: Part = ALL, *, coloured: bool = False
) -> DigitRows:
    """MNIST in grey, in [0, 1], or another set in its format, such as Fashion-MNIST.

    ``root`` has the four IDX files, gzipped or not: directly, in ``raw``, in ``MNIST/raw``, or in
    the ``<set>/raw`` of the one set in it. Without it MNIST is downloaded once to
    ``~/.cache/bn_repro/mnist``. The largest training label is the last class.
    """
    if root is None:
        train, test = read_idx_set(downloaded(), published=True)
    else:
        train, test = read_idx_set(Path(root))
    classes = int(train.labels.max()) + 1
    return DigitRows("mnist", train, test, part, classes=classes, white=255, coloured=coloured)


def _read_packed(path: Path) -> tuple[Digits, Digits]:
    """The training and test digits in the packed file (mnist_binary/README.md has its format)."""
    content = _decompressed(path)
    read, start = [], 0
    for split, (n, sha256) in PACKED_SPLITS.items():
        part = content[start : start + n * (28 * 4 + 1)]
        if _sha256(part) != sha256:
            raise _damaged(path, f"the SHA-256 of its {split} split is not the recorded one")
        stored = np.frombuffer(part, np.uint8)
        rows = stored[: n * 28 * 4].reshape(n, 28, 4)
        read.append(Digits(np.unpackbits(rows, axis=2, count=28), stored[n * 28 * 4 :], sha256))
        start += len(part)
    return read[0], read[1]


@lru_cache(maxsize=1)
def _decompressed(path: Path) -> bytes:
    """The 8 MB in the packed file, kept: xz is half of the time that the set takes to load."""
    try:
        return lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path}: not the packed MNIST of this package: {reason}; "
        "check it out or install the package again, or make it with scripts/pack_mnist.py"
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
