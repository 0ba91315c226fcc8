"""Of ``recurrent``: its arms, their rates and curves, and the gradients that reach each state."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd

from bn_repro.analysis import frames, grids
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.speed import Race
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

RATE = "optimizer.lr"
WITHOUT, WITH = "mnist/recurrent", "mnist/recurrent_bn"
_KEPT = "model.statistics"
NONE = BASELINE.with_(keys={"experiment": WITHOUT})
PER_STEP = BN.with_(label="BN, statistics per step", keys={"experiment": WITH, _KEPT: "per_step"})
SHARED = Arm(
    "BN, shared statistics", "#8e1652", (0, (1.2, 1.1)), "D", {"experiment": WITH, _KEPT: "shared"}
)
ARMS = (NONE, PER_STEP, SHARED)
TRIED = ("rates without BN", "rates")
FINAL = ("final without BN", "final")
"""The blocks of the study: at every rate of the grid, and at each arm's best one."""
ROWS = "row by row"
"""The block whose images are read so, at one rate; all others read permuted ones."""

When = Literal["start", "end"]
"""After the first training step, or after the last."""


def grid(runs: Runs, arm: Arm) -> Grid | None:
    """The arm's accuracy on held-out images over (rates, seeds); None where there are no runs."""
    tried = runs.where(block=list(TRIED)).final(diverged=runs.chance)
    return grids.grid(arm.of(tried), [RATE])


def final(runs: Runs, arm: Arm) -> Runs:
    """The arm's runs at its own best rate."""
    return arm.of(runs.where(block=list(FINAL)))


def rate(runs: Runs, arm: Arm) -> float:
    """The learning rate of the arm's final runs; NaN where there are none."""
    return next(iter(final(runs, arm).final().levels(RATE)), math.nan)


def curve(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Test accuracy at the best rate: seeds (rows) by training steps (columns)."""
    return final(runs, arm).curve(split="test", diverged=runs.chance)


def by_rows(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Test accuracy of the runs that read row by row, without BN or with its usual statistics."""
    found = runs.where(block=ROWS, experiment=arm.keys["experiment"])
    return found.curve(split="test", diverged=runs.chance)


def race(runs: Runs) -> Race:
    """Without BN against BN with statistics per step; the reference is the former."""
    slow, fast = curve(runs, NONE), curve(runs, PER_STEP)
    names = ("the network without BN", "the network with BN", "the network without BN")
    return Race(slow, fast, slow, names, runs.chance)


def gradients(runs: Runs, arm: Arm, when: When) -> pd.DataFrame:
    """The gradient that reaches h_t over that at the last state: seeds (rows) by t (columns)."""
    rows = frames.select(final(runs, arm).probes, probe="state_gradients")
    if rows.empty:
        return pd.DataFrame()
    step = rows["step"].min() if when == "start" else rows["step"].max()
    wide = frames.select(rows, step=step).pivot(index="seed", columns="t", values="relative")
    return wide.rename(columns=int)


def distance(wide: pd.DataFrame) -> pd.Series:
    """By seed, how far gradients are from the last one: the mean of |ln| over the states before."""
    if wide.empty:
        return pd.Series(dtype=float)
    return np.abs(np.log(wide.drop(columns=wide.columns.max()))).mean(axis=1)


def same_training(runs: Runs) -> bool:
    """Whether both kinds of statistics trained alike: the same loss of each recorded mini-batch."""
    one, other = (
        final(runs, arm).curve(split="train", statistics="batch", metric="loss")
        for arm in (PER_STEP, SHARED)
    )
    return bool(one.size) and one.equals(other)


def typical(values: pd.Series) -> float:
    """The geometric mean."""
    return float(np.exp(np.log(values).mean())) if len(values) else math.nan
