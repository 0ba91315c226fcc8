"""Of ``outside_gradient``: its arms, their biases, and their accuracies by rate."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bn_repro.analysis import gates
from bn_repro.analysis import quantities as q
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

MODULE = "bn_repro.norm.outside_gradient"


def _arm(label: str, name: str, color: str, line: Any, marker: str) -> Arm:
    return Arm(label, color, line, marker, {"model.norm": f"{MODULE}:{name}"})


CENTRED = _arm("centred, outside", "centred", "#e6912e", (0, (4.5, 1.4)), "s")
SCALED = _arm("centred and scaled, outside", "scaled", "#b3261e", (0, (1.2, 1.1)), "v")
CENTRED_INSIDE = _arm("centred, inside", "centred_inside", "#56a3dc", (0, (6, 1.3, 1.2, 1.3)), "^")
SCALED_INSIDE = _arm("centred and scaled, inside (BN)", "scaled_inside", "#0b4a8f", "-", "o")
ARMS = (CENTRED, SCALED, CENTRED_INSIDE, SCALED_INSIDE)
PAIRS = {"centred": (CENTRED, CENTRED_INSIDE), "scaled": (SCALED, SCALED_INSIDE)}
WHAT = {"centred": "centred", "scaled": "centred and scaled"}
RATE, USUAL = "optimizer.lr", 0.1
GROWS = 1.25
"""A bias that grows steadily doubles from half of the steps to all; fixed before any run."""
STAYS = 1e-3
"""A bias of a smaller norm has not moved: rounding moves it where it has no gradient."""


def biases(runs: Runs, arm: Arm) -> pd.DataFrame:
    """The norm of the layers' biases, by seed (row) and step (column).

    Over the three hidden layers: the root of the sum of squares.
    """
    rows = arm.of(runs).probes
    if rows.empty or "bias" not in rows:
        return pd.DataFrame()
    squares = rows.assign(square=rows["bias"] ** 2)
    return squares.pivot_table(index="seed", columns="step", values="square", aggfunc="sum") ** 0.5


def at_ends(wide: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The last column (step), and the last of the first half of the steps, by seed (row)."""
    steps = wide.columns.to_numpy(float)
    half = wide.loc[:, steps <= steps.max(initial=0) / 2]
    return q.at_the_end(wide), q.at_the_end(half)


def by_rate(runs: Runs) -> dict[float, Runs]:
    """The runs at every rate."""
    rates = sorted({float(m.varied.get(RATE, USUAL)) for m in runs.members})
    return {
        rate: runs.where(block="norms")
        if rate == USUAL
        else runs.where(block="rates", **{RATE: rate})
        for rate in rates
    }


def failed(runs: Runs, arm: Arm) -> list[bool]:
    """Whether each of the arm's runs ends at chance."""
    return (final(runs, arm) <= gates.ALIVE * runs.chance).tolist()


def final(runs: Runs, arm: Arm) -> pd.Series:
    """Test accuracy at the last step, by seed; a diverged run counts as chance."""
    return arm.of(runs.final("test", diverged=runs.chance)).by_seed()
