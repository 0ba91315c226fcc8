"""The crops of an evaluation: one in the centre, or GoogLeNet's 144 (Szegedy 2014, sec. 7).

A crop is a box (see ``augment``) on the stored image. Resizing an image and then cutting is one
bilinear resampling of the box, so images in memory and image files share this geometry. Sizes scale
with the network's input: at 224 the shorter side is 256, 288, 320 or 352, at 64 it is 73, 82, 91 or
101.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bn_repro.data.augment import normalize, resample

BASE = 224
SHORTER_SIDES = (256, 288, 320, 352)
SQUARES = (0.0, 0.5, 1.0)
"""Places of the squares along the longer side: left, centre, right, or top, centre, bottom."""


def square(width: int, height: int) -> np.ndarray:
    """The largest central square of an image: one box, (1, 5)."""
    return _centred(width, height, 1.0)


def centre_crop(width: int, height: int, size: int) -> np.ndarray:
    """The single crop, one box (1, 5): of an image whose shorter side is 256/224 of ``size``, the
    central square of ``size``."""
    return _centred(width, height, size / round(size * SHORTER_SIDES[0] / BASE))


def _centred(width: int, height: int, part: float) -> np.ndarray:
    w, h = part * min(width, height) / width, part * min(width, height) / height
    return np.array([[(1 - w) / 2, (1 - h) / 2, (1 + w) / 2, (1 + h) / 2, 0.0]])


def multi_crop(
    width: int, height: int, size: int, squares: tuple[float, ...] = SQUARES
) -> np.ndarray:
    """GoogLeNet's crops of one image, boxes (144, 5).

    Four sizes; three squares at each size; of each square the four corner crops and the centre crop
    of ``size``, and the square itself resized; each with its mirror image: 4 * 3 * 6 * 2 = 144.
    On a square image the three squares are the same, so one place in ``squares`` gives the same
    mean from 48 crops.
    """
    short = min(width, height)
    w, h = short / width, short / height  # of a square, as fractions of the image
    boxes = []
    for shorter in SHORTER_SIDES:
        crop = size / round(size * shorter / BASE)  # of a crop, as a fraction of a square
        end = 1 - crop
        views = [(0, 0, crop), (end, 0, crop), (0, end, crop), (end, end, crop)]
        views += [(end / 2, end / 2, crop), (0, 0, 1)]
        for place in squares:
            x, y = place * (1 - w), place * (1 - h)
            for left, top, side in views:
                box = (x + left * w, y + top * h, x + (left + side) * w, y + (top + side) * h)
                boxes += [(*box, 0.0), (*box, 1.0)]
    return np.array(boxes)


def crops(
    images: torch.Tensor, boxes: np.ndarray, size: int, chunk: int = 12
) -> Iterator[torch.Tensor]:
    """Cut the same boxes (K, 5) from every image, uint8 (N, H, W, 3), and normalize them.

    Yields float32 (N, k, 3, size, size) with k at most ``chunk``, so that no more than N * chunk
    crops are in memory.
    """
    n = len(images)
    for part in np.array_split(boxes, range(chunk, len(boxes), chunk)):
        k = len(part)
        box = torch.from_numpy(part.astype(np.float32)).to(images.device)
        x = resample(images.repeat_interleave(k, dim=0), box.repeat(n, 1), size)
        yield normalize(x).view(n, k, 3, size, size)
