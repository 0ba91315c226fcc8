"""Of ``weight_scale``: the rows of its probes as tables."""

from __future__ import annotations

import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

LAYERS = ("hidden1", "hidden2", "hidden3")
NETWORKS = {
    "MNIST, without BN": BASELINE,
    "MNIST, with BN": BN,
    "Inception": INCEPTION,
    "BN-Baseline": BN_BASELINE,
}
DEPARTURES = ["output", "input_gradient", "weight_gradient", "gradient"]


def by_scale(runs: Runs, arm: Arm, *, own_epsilon: bool) -> pd.DataFrame:
    """The median departures (columns) by the factor (rows), over layers, steps and seeds.

    ``own_epsilon``: with BN's own epsilon, else with 0; without BN there is none.
    """
    rows = frames.select(arm.of(runs).probes, probe="scale")
    if rows.empty:
        return pd.DataFrame(columns=DEPARTURES)
    epsilon = rows["epsilon"].max() if own_epsilon else 0.0
    return rows.loc[rows["epsilon"] == epsilon].groupby("scale")[DEPARTURES].median()


def tracked(runs: Runs, arm: Arm, probe: str, name: str, normalized: int = 0) -> pd.DataFrame:
    """A number by step (row), and by layer and seed (columns)."""
    rows = frames.select(arm.of(runs.where(block="training")).probes, probe=probe)
    if rows.empty:
        return pd.DataFrame()
    if probe == "jacobians":
        rows = rows.loc[rows["normalized"] == normalized]
    return rows.pivot_table(index="step", columns=["site", "seed"], values=name)


def at_end(runs: Runs, arm: Arm, name: str, end: str, normalized: int = 0) -> pd.DataFrame:
    """A number by seed (row) and layer (column), at the ``first`` step or at the ``last``."""
    probe = "weights" if name in ("norm", "gradient") else "jacobians"
    wide = tracked(runs, arm, probe, name, normalized)
    if wide.empty:
        return pd.DataFrame()
    row = wide.iloc[0 if end == "first" else -1]
    return pd.DataFrame(row.unstack("site"))


def growth(runs: Runs, arm: Arm) -> pd.DataFrame:
    """The norm of a layer's weights at the last step over that at the first."""
    first, last = (at_end(runs, arm, "norm", end) for end in ("first", "last"))
    return last / first
