"""Decode image files; refuse, or quarantine, files that cannot be read."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from bn_repro.data.listing import Listing

ON_ERROR = ("raise", "quarantine")
QUARANTINE_LIMIT = 100

_MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT

Boxes = Callable[[int, int], np.ndarray]
"""From an image's (width, height) to the boxes (K, 5) to cut out of it; see ``augment``."""

PROGRAMS = ("EPS", "WMF")
"""Formats that Pillow leaves to Ghostscript or Windows to draw, whatever the suffix."""

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""The exceptions of Pillow's decoders on a damaged file."""


class CorruptImage(ValueError):
    """An image file cannot be read; the message is one line with path and reason."""


class Quarantine:
    """The files that could not be read.

    With ``on_error`` "raise" the first is an error; with "quarantine" up to ``limit`` are recorded.
    ``reasons`` has one line for each file, in the order in which they were met.
    """

    def __init__(self, on_error: str = "raise", limit: int = QUARANTINE_LIMIT) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(f"data.on_error: {on_error!r} is unknown; one of {ON_ERROR}")
        self.on_error = on_error
        self.limit = limit
        self.reasons: list[str] = []

    def record(self, faults: list[str]) -> None:
        """Record the lines ``faults``; CorruptImage if files may not fail, or too many do."""
        for fault in faults:
            if self.on_error == "raise":
                raise CorruptImage(f"{fault}; data.on_error=quarantine goes on without such files")
            if fault not in self.reasons:
                self.reasons.append(fault)
            if len(self.reasons) > self.limit:
                raise CorruptImage(f"{fault}; more than {self.limit} such files, see to the data")


def read(
    listing: Listing,
    split: str,
    index: int,
    boxes: Boxes,
    size: int,
    limit: int = QUARANTINE_LIMIT,
    replace: bool = True,
) -> tuple[np.ndarray | None, int, list[str]]:
    """Read image ``index``: its boxes, uint8 (K, size, size, 3), its label, and fault lines.

    There is one fault line for each file that could not be read. With ``replace`` (training) the
    next readable file of the listing, with its own label, takes such a file's place, so the result
    depends on ``index`` alone; CorruptImage if all files, or more than ``limit`` in a row, cannot
    be read. Without ``replace`` (evaluation, where the next file would count twice) the boxes of
    such a file are None.
    """
    faults: list[str] = []
    n = len(listing.labels[split])
    tries = min(n, limit + 1)
    for i in range(index, index + tries):
        try:
            pixels = decode(listing.path(split, i % n), boxes, size)
            return pixels, int(listing.labels[split][i % n]), faults
        except CorruptImage as error:
            faults.append(str(error))
            if not replace:
                return None, int(listing.labels[split][index]), faults
    raise CorruptImage(f"{faults[0]}; nor can the {tries - 1} after it")


def decode(path: str | os.PathLike[str], boxes: Boxes, size: int) -> np.ndarray:
    """Cut boxes out of an image file and resize each to ``size``: uint8 (K, size, size, 3), RGB.

    Grey, CMYK, palette and transparent images become RGB, whatever the file's suffix. EXIF
    orientation is ignored, as in published results. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
    size (Pillow's ``draft``) where every box then still has ``size`` pixels a side. Raises
    CorruptImage.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise ValueError("not a regular file")
        with Image.open(path) as image:
            if image.format in PROGRAMS:  # Pillow would call another program to draw it
                raise ValueError(f"{image.format}, which is drawn by a program; expected pixels")
            width, height = image.size
            wanted = boxes(width, height)
            # The size of the whole image at which the smallest box is just large enough.
            enough = np.ceil(size / (wanted[:, 2:4] - wanted[:, 0:2]).min(axis=0))
            image.draft(None, (int(enough[0]), int(enough[1])))
            reduced = max(round(width / image.width), round(height / image.height))
            rgb = _rgb(image)
    except FileNotFoundError:
        raise CorruptImage(f"{path}: the image is not there any more") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()).replace(f" {os.fspath(path)!r}", "")
        line = f"{path}: not an image that can be read: {reason or type(error).__name__}"
        raise CorruptImage(line) from error
    return cut(rgb, wanted * [width, height, width, height, 1] / [*4 * [reduced], 1], size)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    if image.mode[0] in "IF":
        raise ValueError(f"pixels of mode {image.mode}; expected 8 bits to a channel")
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # converting would copy it
    return image


def cut(image: Image.Image, boxes: np.ndarray, size: int) -> np.ndarray:
    """Cut boxes in pixels (K, 5) out of an RGB image: uint8 (K, size, size, 3).

    Each is resized (bilinear, antialiased) and mirrored if its box says so.
    """
    patches = []
    for left, top, right, bottom, mirror in boxes.tolist():
        inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        patch = image.resize((size, size), Image.Resampling.BILINEAR, box=inside)
        patches.append(np.asarray(patch.transpose(_MIRRORED) if mirror else patch))
    # A single patch is not copied: its caller copies it into a mini-batch.
    return patches[0][None] if len(patches) == 1 else np.stack(patches)
