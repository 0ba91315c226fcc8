"""Of ``covariate_shift``: its settings and arms, and each run's numbers by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.movement import tracks
from bn_repro.analysis.studies.converged import on_the_same_images
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

MODULE, NORM, RATE = "bn_repro.norm.jolted", "model.norm", "optimizer.lr"
UNIT = 0
"""The unit that every run traces (``training.activations.UNIT``)."""


def _jolted(arm: Arm, level: str = "batch") -> Arm:
    look = ("jolted", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D")
    if level != "batch":
        look = ("jolted harder", "#4a9a5c", (0, (1.2, 1.1)), "v")
    label, color, line, marker = look
    return Arm(f"{arm.label}, {label}", color, line, marker, _keys(arm, f"{MODULE}:{level}"))


def _keys(arm: Arm, norm: str | None) -> dict[str, object]:
    return {"experiment": arm.keys["experiment"], NORM: norm}


MNIST = (BASELINE, BN.with_(keys=_keys(BN, None)), _jolted(BN), _jolted(BN, "batch_harder"))
DIGITS = (
    INCEPTION.with_(keys=_keys(INCEPTION, None)),
    BN.with_(label=BN_BASELINE.label, keys=_keys(BN_BASELINE, None)),
    _jolted(BN_BASELINE),
)
"""Drawn as MNIST's."""


@dataclass(frozen=True)
class Setting:
    """A network at a rate: without BN, with BN, jolted, and, where there is one, jolted harder."""

    id: str
    name: str
    rate: float | None
    arms: tuple[Arm, ...]

    def of(self, runs: Runs, arm: Arm) -> Runs:
        """The arm's runs here; Inception's without the last evaluation, on other images."""
        if self.rate is None:
            return on_the_same_images(arm.of(runs))
        return arm.of(runs.where(**{RATE: self.rate}))


SETTINGS = (
    Setting("mnist_0.1", "MNIST, rate 0.1", 0.1, MNIST[:3]),
    Setting("mnist_1", "MNIST, rate 1", 1.0, MNIST),
    Setting("inception", "Inception", None, DIGITS),
)


def accuracy(runs: Runs, setting: Setting, arm: Arm) -> pd.Series:
    """Test accuracy by seed: MNIST's at the last step, Inception's maximum."""
    part = setting.of(runs, arm)
    chance = part.chance
    if setting.rate is None:
        return part.best(missing=chance).by_seed()
    return part.final("test", diverged=chance).by_seed()


def turns(runs: Runs, setting: Setting, arm: Arm, name: str = "angle") -> pd.DataFrame:
    """By how many degrees the gradient turns when the layers below took their step.

    The mean over the layers, by seed (row) and step (column); or ``cosine``, that of the angle.
    """
    rows = frames.select(setting.of(runs, arm).probes, probe="shift")
    rows = rows.loc[rows["cosine"].notna()] if len(rows) else rows
    if rows.empty:
        return pd.DataFrame()
    turned = np.degrees(np.arccos(np.clip(rows["cosine"].to_numpy(float), -1, 1)))
    return rows.assign(angle=turned).pivot_table(index="seed", columns="step", values=name)


def along(runs: Runs, setting: Setting, arm: Arm, name: str, size: float) -> pd.DataFrame:
    """``loss`` or ``distance`` after a step of ``size`` rates, by seed (row) and step (column)."""
    rows = frames.select(setting.of(runs, arm).probes, probe="shift")
    rows = frames.select(rows, size=size) if len(rows) else rows
    if rows.empty:
        return pd.DataFrame()
    return rows.pivot_table(index="seed", columns="step", values=name)


def swings(runs: Runs, setting: Setting, arm: Arm) -> pd.Series:
    """How far the last layer's inputs move between traced steps, by seed.

    The mean over pairs of neighbouring traced steps of the change of a unit's median, over the
    mean of its p85 - p15.
    """
    rows, found = setting.of(runs, arm).traces, {}
    for site in sorted(set(rows["site"])):  # the last layer's is the one that is traced
        for seed, (_, percentiles) in tracks(rows, site, UNIT).items():
            low, middle, high = percentiles
            found[seed] = np.abs(np.diff(middle)).mean() / (high - low).mean()
    return pd.Series(found, dtype=float)
