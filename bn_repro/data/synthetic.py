"""Images drawn by a formula, for tests and ``scale=smoke``: a network learns them in a few steps.

A class is a grating with an orientation, a frequency and a colour. An image of it has a random
phase, contrast, brightness and noise, which depend on (seed, split, index) alone.
"""

from __future__ import annotations

import colorsys
import hashlib

import numpy as np

from bn_repro.data.augment import Preprocessing, uniforms
from bn_repro.data.listing import SPLITS
from bn_repro.data.resident import ResidentImages

NOISE = 60.0
"""The largest noise of a pixel, of 255."""
_PURPOSES = {"train": 2, "val": 3}


def draw(seed: int, split: str, index: int, classes: int, size: int) -> np.ndarray:
    """Image ``index`` of a split, uint8 (size, size, 3); its class is ``index`` mod ``classes``."""
    label = index % classes
    u = uniforms(seed, 0, [index], _PURPOSES[split], 3 + size * size * 3)[0]
    angle = np.pi * label / classes
    cycles = 2.0 + 2.0 * (label % 3)  # over the image; classes of similar angle differ in it
    colour = np.array(colorsys.hsv_to_rgb((label * 0.381966) % 1.0, 0.8, 1.0))
    place = (np.arange(size) + 0.5) / size
    along = place[None, :] * np.cos(angle) + place[:, None] * np.sin(angle)
    wave = np.sin(2 * np.pi * (cycles * along + u[0]))[:, :, None]
    contrast, brightness = 40 + 40 * u[1], 108 + 40 * u[2]
    noise = NOISE * (2 * u[3:].reshape(size, size, 3) - 1)
    return np.clip(brightness + contrast * wave * colour + noise, 0, 255).astype(np.uint8)


def synthetic(
    preprocessing: Preprocessing,
    *,
    classes: int = 10,
    size: int = 64,
    train_images: int = 2048,
    val_images: int = 512,
    seed: int = 0,
) -> ResidentImages:
    """A set of drawn images in memory, with the same number of each class, or one fewer."""
    images, labels = {}, {}
    sha = hashlib.sha256()
    for split, n in zip(SPLITS, (train_images, val_images), strict=True):
        images[split] = np.empty((n, size, size, 3), np.uint8)
        for i in range(n):
            images[split][i] = draw(seed, split, i, classes, size)
        labels[split] = np.arange(n) % classes
        sha.update(f"{classes} {images[split].shape}".encode())
        sha.update(images[split].data)
    names = tuple(f"class{k}" for k in range(classes))
    return ResidentImages("synthetic", sha.hexdigest(), names, images, labels, preprocessing)
