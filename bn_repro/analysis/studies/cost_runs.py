"""Of ``cost``: its two networks, what a step of each run takes, and races in steps and seconds."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.speed import Race
from bn_repro.analysis.studies.converged import on_the_same_images
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5, INCEPTION
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

STEP, STEP_FOLDED = "training_seconds", "training_folded_seconds"
INFERENCE, INFERENCE_FOLDED = "inference_seconds", "inference_folded_seconds"
KEPT, PARAMETERS, BUFFERS = "kept_bytes", "parameter_bytes", "buffer_bytes"
"""What the probe ``cost`` measures, as it names it."""


@dataclass(frozen=True)
class Network:
    """A network without BN, with it, and, of Inception, with it and the other changes."""

    id: str
    name: str
    block: str
    without: Arm
    bn: Arm
    more: tuple[Arm, ...] = ()
    limited: bool = False
    """Whether runs are evaluated on fewer images before the last step than at it."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All, that without BN first."""
        return (self.without, *self.with_bn)

    @property
    def with_bn(self) -> tuple[Arm, ...]:
        """Those with BN."""
        return (self.bn, *self.more)

    def called(self, arm: Arm) -> str:
        """The arm as a noun: ``BN-x5``, ``the network with BN``."""
        return arm.label if arm.label[0].isupper() else f"the network {arm.label}"

    def of(self, runs: Runs, arm: Arm) -> Runs:
        """The arm's runs, with the evaluations that can be compared."""
        mine = arm.of(runs.where(block=self.block))
        return on_the_same_images(mine) if self.limited else mine

    def curve(self, runs: Runs, arm: Arm) -> pd.DataFrame:
        """Test accuracy by seed (row) and step (column)."""
        mine = self.of(runs, arm)
        return mine.curve(diverged=mine.chance)

    def measured(self, runs: Runs, arm: Arm, name: str) -> pd.Series:
        """What the probe has under ``name``, by seed: the median over the probed steps."""
        rows = runs.probes
        if name not in rows:
            return pd.Series(dtype=float)
        rows = frames.select(rows, probe="cost", experiment=arm.keys["experiment"])
        return pd.Series(rows.groupby("seed")[name].median()).dropna()

    def relative(self, runs: Runs, arm: Arm, name: str, to: str = "") -> pd.Series:
        """The same over that of the network without BN (there under ``to``), by seed."""
        without = self.measured(runs, self.without, to or name)
        return (self.measured(runs, arm, name) / without).dropna()

    def race(self, runs: Runs, fast: Arm, *, seconds: bool) -> Race:
        """A network with BN against the one without, to the accuracy of the latter."""
        slow = self.without
        one, two = (self.curve(runs, arm) for arm in (slow, fast))
        paces = (self.measured(runs, slow, STEP), self.measured(runs, fast, STEP))
        names = (self.called(slow), self.called(fast), self.called(slow))
        chance = self.of(runs, slow).chance
        return Race(one, two, one, names, chance, paces if seconds else None)


MNIST = Network("mnist", "MNIST", "MNIST", BASELINE, BN)
DIGITS = Network(
    "inception", "Inception on digits", "Inception", INCEPTION, BN_BASELINE, (BN_X5,), limited=True
)
NETWORKS = (MNIST, DIGITS)
