"""The paper's numbers that code needs, each with its section (arXiv 1502.03167v3)."""

from __future__ import annotations

from typing import NamedTuple

# Section 4.1: the axes of Figure 1.
FIGURE1_ACCURACY = (0.7, 1.0)
FIGURE1_STEPS = (10_000, 50_000)
FIGURE1_INPUTS = (-2.0, 2.0)


class Network(NamedTuple):
    """A row of Figure 3: steps to 72.2 % (None: never), and the maximum accuracy."""

    steps_to_target: float | None
    max_top1: float


# Section 4.2.2, Figure 3.
FIGURE3_TARGET = 0.722
FIGURE3 = {
    "imagenet/inception": Network(31.0e6, 0.722),
    "imagenet/bn_baseline": Network(13.3e6, 0.727),
    "imagenet/bn_x5": Network(2.1e6, 0.730),
    "imagenet/bn_x30": Network(2.7e6, 0.748),
    "imagenet/bn_x5_sigmoid": Network(None, 0.698),
}


class Error(NamedTuple):
    """A row of Figure 4: errors on the validation set, as fractions (None: not given)."""

    resolution: str
    crops: int | None
    models: int | None
    top1: float | None
    top5: float


# Section 4.2.3, Figure 4.
FIGURE4 = {
    "GoogLeNet ensemble": Error("224", 144, 7, None, 0.0667),
    "Deep Image low-res": Error("256", None, 1, None, 0.0796),
    "Deep Image high-res": Error("512", None, 1, 0.2488, 0.0742),
    "Deep Image ensemble": Error("variable", None, None, None, 0.0598),
    "BN-Inception single crop": Error("224", 1, 1, 0.252, 0.0782),
    "BN-Inception multicrop": Error("224", 144, 1, 0.2199, 0.0582),
    "BN-Inception ensemble": Error("224", 144, 6, 0.201, 0.049),
}
