"""The runs of ``learning_rate_and_init``: the grid, a finer row of rates, the best cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bn_repro.analysis import grids, steps_to
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs, Values

RATE, STD = "optimizer.lr", "model.init_std"
TARGETS = (0.9, 0.95)
TRAINS = TARGETS[0]
USUAL_STD = 0.1
"""The initial scale of Figure 1, at which the highest rates are compared."""


@dataclass(frozen=True)
class Cells:
    """One arm over (rates, initial scales, seeds)."""

    test: Grid
    """Test accuracy at the last step."""
    held_out: Grid
    """The same on held-out images."""
    steps: Grid
    """Steps to 90 % on held-out images; infinite where never."""

    @property
    def best(self) -> tuple[int, int]:
        """The indices of the best cell, by the mean accuracy on held-out images."""
        return self.held_out.best[0], self.held_out.best[1]

    def along_rates(self, scale: int) -> Grid:
        """Test accuracy (rates, seeds) at the initial scale with this index."""
        return Grid(self.test.axes[:1], self.test.seeds, self.test.values[:, scale])

    def through_best(self, axis: int) -> Grid:
        """Test accuracy along the rates (axis 0) or the scales (1) through the best cell."""
        rate, scale = self.best
        if axis == 0:
            return self.along_rates(scale)
        return Grid(self.test.axes[1:], self.test.seeds, self.test.values[rate])

    def usual(self) -> Grid | None:
        """Test accuracy (rates, seeds) at the scale of Figure 1; None where it was not tried."""
        scales = self.test.axes[1]
        return self.along_rates(scales.index(USUAL_STD)) if USUAL_STD in scales else None


def cells(runs: Runs, arm: Arm) -> Cells | None:
    """The arm's grid; None where it has no runs."""
    part = arm.of(runs).where(block="grid")
    reached = steps_to.never_is_infinite(part.runs[steps_to.column(TRAINS)].to_numpy(float))
    of_runs = [part.final(split, diverged=runs.chance) for split in ("test", "val")]
    of_runs.append(Values(part.runs.assign(value=reached)))
    test, held_out, steps = (grids.grid(values, (RATE, STD)) for values in of_runs)
    return Cells(test, held_out, steps) if test and held_out and steps else None


def finals(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Test accuracy of the fresh seeds at the arm's best cell, seeds by steps."""
    return arm.of(runs).where(block="final").curve(split="test", diverged=runs.chance)


def fine(runs: Runs, arm: Arm) -> Grid | None:
    """Test accuracy over the finer row of rates, (rates, seeds), at the scale of Figure 1.

    None where a run of the row is missing.
    """
    part = arm.of(runs).where(block="fine")
    row = grids.grid(part.final("test", diverged=runs.chance), (RATE,))
    return row if row and row.complete else None


def alike(both: Sequence[Cells | None]) -> list[Cells]:
    """Both arms' cells where the two grids are whole and have the same axes and seeds, or none."""
    found = [of for of in both if of and of.test.complete]
    return (
        found if len(found) == 2 and len({(g.test.axes, g.test.seeds) for g in found}) == 1 else []
    )


def highest(row: Grid) -> np.ndarray:
    """The highest rate of a row (rates, seeds) that trains, by seed; 0 where none does."""
    trains = row.values >= TRAINS
    top = len(trains) - 1 - trains[::-1].argmax(axis=0)
    return np.where(trains.any(axis=0), np.asarray(row.axes[0])[top], 0.0)


def compared(both: Sequence[Grid | None], compute: Callable[[Grid], np.ndarray]) -> list[pd.Series]:
    """With BN and without, by seed; empty without both.

    ``both``: without BN, with BN; ``compute`` gives a number a seed.
    """
    found = [pd.Series(compute(grid), grid.seeds, float) for grid in reversed(both) if grid]
    return found if len(found) == 2 else [pd.Series(dtype=float)] * 2
