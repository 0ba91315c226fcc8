"""Of ``fig1_rates``: its grid of rates, and the runs at each arm's own best one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bn_repro.analysis import frames, grids
from bn_repro.analysis import quantities as q
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.speed import Race
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

RATE = "optimizer.lr"


def grid(runs: Runs, arm: Arm) -> Grid | None:
    """The arm's accuracy on held-out images over (rates, seeds); None where there are no runs."""
    tried = runs.where(block="grid").final("val", diverged=runs.chance)
    return grids.grid(arm.of(tried), [RATE])


def final_rate(runs: Runs, arm: Arm) -> float:
    """The rate of the arm's final runs; NaN where there are none."""
    return next(iter(arm.of(runs.where(block="final")).final().levels(RATE)), math.nan)


def finals(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(without, with BN) test accuracy at their own best rates, over common seeds and steps."""
    return frames.shared(*fig1.curves(runs.where(block="final")))


def early_runs(runs: Runs) -> Runs:
    """The many seeds that train the first steps alone; without them, the final runs."""
    many = runs.where(block="early")
    shared = frames.shared(*fig1.curves(many))
    return runs.where(block="final") if shared[0].empty else many


def early(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(without, with BN) test accuracy of these, over common seeds and steps."""
    return frames.shared(*fig1.curves(early_runs(runs)))


def by_rate(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(without, with BN) accuracy on held-out images at the last step: seeds by rates."""
    found = [grid(runs, arm) for arm in MNIST_ARMS]
    without, with_bn = (
        pd.DataFrame() if g is None else pd.DataFrame(g.values.T, index=g.seeds, columns=g.axes[0])
        for g in found
    )
    return frames.shared(without, with_bn)


def target_of(without: pd.DataFrame) -> float:
    """The best accuracy reached without BN: the maximum of the median curve over seeds."""
    median = np.median(without.to_numpy(float), axis=0) if without.size else np.array([np.nan])
    return round(float(median.max()), 4)


def race_of(runs: Runs, block: str = "early") -> Race:
    """Both arms on test images, with the baseline's final runs as the reference."""
    (without, with_bn), (reference, _) = early(runs), finals(runs)
    if block == "final":
        without, with_bn = finals(runs)
    same = without.equals(reference)
    names = ("the baseline", "BN", "the baseline" if same else "the final baseline")
    return Race(without, with_bn, reference, names, runs.chance)


def gaps(runs: Runs) -> dict[float, Interval]:
    """With BN minus without, in held-out accuracy at the last step, at every rate of the grid."""
    without, with_bn = by_rate(runs)
    return q.differences(with_bn, without)


def leads(runs: Runs) -> dict[int, Interval]:
    """With BN minus without, in test accuracy, at every step of runs that one table holds."""
    without, with_bn = fig1.curves(runs)
    return q.differences(with_bn, without, fig1.last_answers(runs))
