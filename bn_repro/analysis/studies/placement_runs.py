"""Of ``placement``: its variants, their accuracies in each setting, and the figure of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.converged import on_the_same_images
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

MODULE = "bn_repro.norm.parts"
RATE = "optimizer.lr"
RATES = (0.1, 1.0)


def _arm(label: str, color: str, line: Any, marker: str, **keys: Any) -> Arm:
    return Arm(label, color, line, marker, {f"model.{name}": value for name, value in keys.items()})


BEFORE = _arm("before (BN)", "#0b4a8f", "-", "o", norm_at="before")
AFTER = _arm("after", "#b3261e", (0, (1.2, 1.1)), "v", norm_at="after")
INPUT = _arm("on the input", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D", norm_at="input")
WITH_BIAS = _arm("before, with a bias", "#56a3dc", "-", "^", norm=f"{MODULE}:with_bias")
BARE = _arm(
    "before, no gamma or beta",
    "#4a9a5c",
    (0, (5, 1, 1, 1, 1, 1)),
    "P",
    norm=f"{MODULE}:without_gamma_and_beta",
)
PER_ACTIVATION = _arm(
    "before, per activation", "#8a8a8a", (0, (2.4, 1.2)), "<", per_activation_modules=4
)
NONE = Arm("none", "#e6912e", (0, (4.5, 1.4)), "s", {"experiment": "mnist/baseline"})
MNIST = (NONE, BEFORE, WITH_BIAS, AFTER, INPUT, BARE)
INCEPTION = (BEFORE, PER_ACTIVATION, AFTER, BARE)
VARIANTS = (NONE, BEFORE, WITH_BIAS, PER_ACTIVATION, AFTER, INPUT, BARE)


@dataclass(frozen=True)
class Setting:
    """A network at a rate, with each of its variants; all have the same seeds."""

    name: str
    runs: Runs
    arms: Sequence[Arm]
    maximum: bool = False
    """Whether the maximum accuracy over time is compared, or that at the last step."""

    def accuracy(self, arm: Arm) -> pd.Series:
        """Test accuracy by seed, by moving averages; a diverged run counts as chance."""
        best, last = (
            self.runs.best(missing=self.runs.chance),
            self.runs.final(diverged=self.runs.chance),
        )
        return arm.of(best if self.maximum else last).by_seed()

    def right(self, arm: Arm) -> pd.DataFrame:
        """Which test images each run has right, at the evaluation that is compared."""
        return arm.of(self.runs).right("best" if self.maximum else "last")


def mnist(runs: Runs) -> list[Setting]:
    """Section 4.1's network at each rate."""
    own = runs.where(experiment=["mnist/bn", "mnist/baseline"])
    return [Setting(f"MNIST, rate {r:g}", own.where(**{RATE: r}), MNIST) for r in RATES]


def inception(runs: Runs) -> Setting:
    """Inception on digits at its own rate."""
    own = on_the_same_images(runs.where(experiment="imagenet/bn_baseline"))
    return Setting("Inception on digits", own, INCEPTION, maximum=True)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_placement``: accuracy by variant, and over training; a column a setting."""
    settings = [*mnist(runs), inception(runs)]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
        axes = figure.subplots(2, 3)
        for ax, setting in zip(axes[0], settings, strict=True):
            draw_ends(ax, setting).set_title(setting.name)
        for ax, setting in zip(axes[1], settings, strict=True):
            draw_training(ax, setting)
        for ax in axes[:, 1:].ravel():
            ax.set_ylabel("")
        style.letters(axes.ravel())
        style.legend(figure, axes[1], loc="outside upper center", ncols=4)
        return {"figure_placement": figure}


def draw_ends(ax: Axes, setting: Setting) -> Axes:
    """The accuracy that is compared, a row a variant: every seed and the mean."""
    for row, arm in enumerate(reversed(VARIANTS)):
        values = setting.accuracy(arm).to_numpy(float) if arm in setting.arms else np.array([])
        if len(values):
            panels.seeds_of_row(ax, row, 100 * values, arm)
    ax.set_yticks(range(len(VARIANTS)), [arm.label for arm in reversed(VARIANTS)])
    if setting.name != f"MNIST, rate {RATES[0]:g}":
        ax.tick_params(labelleft=False)
    ax.set_ylim(-0.6, len(VARIANTS) - 0.4)
    ax.set_xlabel(f"{'maximum' if setting.maximum else 'final'} test accuracy, %")
    return ax


def draw_training(ax: Axes, setting: Setting) -> Axes:
    """Test accuracy over training: the medians over seeds."""
    highest = 0.9
    for arm in setting.arms:
        wide = arm.of(setting.runs).curve(diverged=setting.runs.chance)
        if wide.size:
            middle = wide.median().to_numpy(float)
            highest = max(highest, float(np.nanmax(middle)))
            panels.curves(ax, pd.DataFrame([middle], columns=wide.columns), arm, markers=6)
    style.error_axis(ax, 0.5, 1 - 0.8 * (1 - highest))
    return style.steps_axis(ax)
