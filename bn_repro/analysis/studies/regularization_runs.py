"""Of ``regularization``: its settings, and each setting's accuracies; and the figure of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import style
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

SHUFFLING, DROPOUT = "data.shuffling", "model.dropout"
MINI_BATCHES = {"full": "drawn anew", "fixed_batches": "fixed"}
"""How mini-batches are made each epoch, by ``data.shuffling``."""
DROPOUTS = (0.0, 0.4)
PAIRS = {"Inception": (INCEPTION, BN_BASELINE), "MNIST": (BASELINE, BN)}
"""Without BN and with it, by block."""
WHERE = {"Inception": "Inception on digits", "MNIST": "the MNIST network"}


@dataclass(frozen=True)
class Setting:
    """One network, trained with one shuffling and one dropout."""

    arm: Arm
    runs: Runs

    def top1(self, split: str) -> pd.Series:
        """Accuracy at the last step, by seed; moving averages, no dropout, no augmentation."""
        return self.runs.final(split, diverged=self.runs.chance).by_seed()

    @property
    def gap(self) -> pd.Series:
        """Training accuracy minus test accuracy, by seed; a diverged run has none."""
        train, test = (self.runs.final(split).by_seed() for split in ("train", "test"))
        return (train - test).dropna()


def setting(
    runs: Runs, block: str, arm: Arm, shuffling: str = "full", dropout: float = 0.0
) -> Setting:
    """The runs of one setting; the MNIST network has no dropout."""
    keys = {SHUFFLING: shuffling} | ({DROPOUT: dropout} if block == "Inception" else {})
    return Setting(arm, arm.of(runs.where(block=block, **keys)))


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_gap``: training and test accuracy at every setting, a panel a network."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, width_ratios=[2, 1.2])
        for ax, block in zip(axes, PAIRS, strict=True):
            draw_gaps(ax, runs, block).set_title(WHERE[block])
        style.letters(axes)
        for ax in axes:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, fontsize=7)
        return {"figure_gap": figure}


def draw_gaps(ax: Axes, runs: Runs, block: str) -> Axes:
    """Accuracy on the training images (open) and the test images (filled): every seed, the mean.

    A column a setting: how mini-batches are made, and the dropout.
    """
    columns = [(s, d) for d in (DROPOUTS if block == "Inception" else (0.0,)) for s in MINI_BATCHES]
    for line, arm in enumerate(PAIRS[block]):
        for x, (shuffling, dropout) in enumerate(columns):
            found = setting(runs, block, arm, shuffling, dropout)
            for split, filled in (("train", False), ("test", True)):
                values = found.top1(split).to_numpy(float)
                if not len(values):
                    continue
                at, name = x + (-0.14, 0.14)[line], f"{arm.label}, {split}"
                look: dict[str, Any] = {"color": arm.color, "marker": arm.marker, "ls": "none"}
                look |= {"mfc": arm.color if filled else "white"}
                ax.plot([at] * len(values), values, ms=2.6, alpha=0.4, **look)
                ax.plot([at], [values.mean()], ms=6, label="" if x else name, **look)
    ends = [f"\ndropout {dropout:g}" if len(columns) > 2 else "" for _, dropout in columns]
    names = [f"{MINI_BATCHES[s]}{end}" for (s, _), end in zip(columns, ends, strict=True)]
    ax.set_xticks(range(len(columns)), names)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_xlabel("mini-batches")
    ax.set_ylabel("accuracy at the end")
    return style.percent_axis(ax)
