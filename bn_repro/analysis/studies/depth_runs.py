"""The runs of ``depth``: its blocks, the accuracies by depth, and what counts as trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.intervals import Images
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values

DEPTH, RATE, USUAL_STD, LARGER_STD = "model.depth", "optimizer.lr", 0.1, 0.3
LARGER = "best at 0.3"
BLOCKS = {
    "best": ("own_best_rate", "at its own best rate"),
    "common": ("common_rate", "at rate 0.1"),
    LARGER: ("larger_scale", "at its own best rate from initial scale 0.3"),
}
TRAINS = 0.9
"""A network trains if its mean accuracy at the last step is at least this; fixed before any run."""


def by_depth(final: Values, arm: Arm, block: str, nonlinearity: str) -> pd.DataFrame:
    """The accuracies of an arm in a block, a row a seed and a column a depth."""
    rows = arm.of(final).where(block=block, nonlinearity=nonlinearity).rows
    wide = rows.pivot(index="seed", columns=DEPTH, values="value").astype(float)
    return wide.dropna(axis=1, how="all")


def paired(runs: Runs, block: str, nonlinearity: str, layers: list[int]) -> list[pd.DataFrame]:
    """Without BN and with it, at these depths, over the seeds that all of these networks have."""
    final = runs.final("test", diverged=runs.chance)
    both = [by_depth(final, arm, block, nonlinearity) for arm in MNIST_ARMS]
    return [*frames.shared(*(wide.reindex(columns=layers).dropna() for wide in both))]


def answers(runs: Runs, block: str, nonlinearity: str, depth: int) -> Images:
    """Which test images the runs have right at the last step: without BN, and with it."""
    part = runs.where(block=block, nonlinearity=nonlinearity, **{DEPTH: depth})
    without, with_bn = (arm.of(part).right() for arm in MNIST_ARMS)
    return without, with_bn


def depths(runs: Runs) -> list[int]:
    """The numbers of hidden layers that the study has, ascending."""
    return sorted({m.varied[DEPTH] for m in runs.members})


def greatest_depth(layers: Sequence[int], top1: np.ndarray) -> np.ndarray:
    """The greatest depth whose mean accuracy is enough, 0 where none is; (depths, ..., seeds)."""
    return np.max((top1.mean(axis=-1).T >= TRAINS) * np.asarray(layers, dtype=float), axis=-1).T
