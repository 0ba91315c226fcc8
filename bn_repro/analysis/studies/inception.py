"""What the studies of section 4.2's Inceptions share: networks as arms, quantities, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bn_repro import paper
from bn_repro.analysis import intervals, panels, steps_to, style, tables
from bn_repro.analysis.claims import NOTHING, Above, Claim, Quantity
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.study import count
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def network(label: str, name: str, *look: object, std: float | None = None) -> Arm:
    """A network of section 4.2.2; ``std`` where its first weights are small Gaussians, not He's."""
    return Arm(label, *look, {"experiment": f"imagenet/{name}", "init_std": std})  # pyright: ignore


INCEPTION = network("Inception", "inception", "#e6912e", (0, (4.5, 1.4)), "s")
BN_BASELINE = network("BN-Baseline", "bn_baseline", "#56a3dc", "-", "^")
BN_X5 = network("BN-x5", "bn_x5", "#0b4a8f", "-", "o")
BN_X30 = network("BN-x30", "bn_x30", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D")
BN_SIGMOID = network("BN-x5-Sigmoid", "bn_x5_sigmoid", "#4a9a5c", (0, (1.2, 1.1)), "v")
INCEPTION_X5 = network("Inception-x5", "inception_x5", "#e6912e", (0, (4.5, 1.4)), "s")
BN_BASELINE_X5 = network("BN-Baseline-x5", "bn_baseline_x5", "#56a3dc", "-", "^")
"""The paper has Inception at this rate, and no BN-Baseline."""
NETWORKS = (INCEPTION, BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID)
"""Figure 3's rows, in its order."""

SEPARATE = "95 % bootstrap interval, each network's seeds resampled on their own"
STEPS_RULE = (
    "Steps: the first evaluation at or above the target, infinite if none is; the target: the "
    "median over seeds of each Inception run's best (of an even number of seeds the lower of the "
    "two in the middle)"
)


def printed(arm: Arm) -> paper.Network:
    """The network's row in the paper's Figure 3."""
    return paper.FIGURE3[arm.keys["experiment"]]


def curves(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Single-crop validation accuracy, seed by step; a diverged run counts as chance."""
    return arm.of(runs).curve(split="val", diverged=runs.chance)


def best(runs: Runs, arm: Arm) -> np.ndarray:
    """Each seed's maximum accuracy; chance where a run diverged before its first evaluation."""
    return arm.of(runs.best(missing=runs.chance)).array


def target_of(runs: Runs, arm: Arm) -> float:
    """The accuracy to count steps to: the best of the arm's typical run; NaN without one."""
    values = best(runs, arm)
    if not len(values):
        return math.nan
    # Down to 4 decimals, as the name of its column in runs.csv has it; rows are rounded to 6.
    return math.floor(1e4 * round(float(steps_to.typical_best(values)), 6) + 1e-6) / 1e4


def evaluation_grid(runs: Runs) -> float:
    """The distance of evaluations, in steps: the resolution of any number of steps."""
    steps = sorted(set(tables.select(runs.curves, split="val")["step"].tolist()))
    return float(np.median(np.diff([0, *steps]))) if steps else math.nan


def speed_up(runs: Runs, slow: Arm, fast: Arm, to_best_of: Arm = INCEPTION) -> Interval:
    """median(steps of ``slow``) / median(steps of ``fast``) to the best of ``to_best_of``.

    Seeds of each arm are resampled on their own, and the target with those of its arm. A run's
    steps s are known to lie in (s - grid, s], which widens the interval at both ends.
    """
    labels = [arm.label for arm in (to_best_of, slow, fast)]
    arms = {arm.label: arm for arm in (to_best_of, slow, fast)}
    order = list(arms)
    wide, grid = [curves(runs, arm) for arm in arms.values()], evaluation_grid(runs)
    if any(w.empty for w in wide):
        return NOTHING
    ceiling = wide[0].max(axis=1).to_numpy(float)

    def ratio(less_slow: float, less_fast: float) -> Interval:
        def compute(*draws: np.ndarray) -> np.ndarray:
            chosen = [draw.astype(int) for draw in draws]
            target = steps_to.typical_best(ceiling[chosen[0]])
            medians = [
                np.median(np.take_along_axis(steps_to.at(w, target), draw, -1), axis=-1)
                for w, draw in zip(wide, chosen, strict=True)
            ]
            above, below = (medians[order.index(label)] for label in labels[1:])
            return (above - less_slow) / (below - less_fast)

        return intervals.bootstrap(compute, *(np.arange(len(w)) for w in wide))

    found = ratio(0, 0)
    return Interval(found.estimate, ratio(grid, 0).low, ratio(0, grid).high, found.n)


def median_steps(runs: Runs, arm: Arm, target: float) -> float:
    """The median over seeds of the steps to ``target``; infinity where never, NaN without runs."""
    wide = curves(runs, arm)
    return float(np.median(steps_to.at(wide, target))) if wide.size else math.nan


def fewer_steps(runs: Runs, slow: Arm, fast: Arm) -> Quantity:
    """How many times fewer steps ``fast`` needs than ``slow`` to Inception's best accuracy."""
    words = (
        f"{STEPS_RULE}. Median steps of {slow.label} over median steps of {fast.label}; "
        f"{SEPARATE}, the target with Inception's, and widened by the grid of evaluations"
    )
    found = speed_up(runs, slow, fast)
    return Quantity(words, found, "x", never=(fast.label, slow.label))


def maximum_gap(runs: Runs, higher: Arm, lower: Arm) -> Quantity:
    """The maximum accuracy of ``higher`` minus that of ``lower``, in points."""
    values = best(runs, higher), best(runs, lower)
    words = (
        f"Maximum single-crop validation accuracy of {higher.label} minus that of {lower.label}: "
        f"difference of means; {SEPARATE}"
    )
    return Quantity(words, intervals.difference(*values, paired=False), "points")


def bn_alone_claim(runs: Runs) -> Claim:
    """What the paper says of BN and nothing else."""
    return Claim(
        "bn_baseline_speed_up_ratio",
        "BN alone (BN-Baseline) reaches Inception's best accuracy in fewer than half of the steps.",
        "4.2.2, Figures 2 and 3",
        fewer_steps(runs, INCEPTION, BN_BASELINE),
        Above(2.0),
        paper.fewer_steps("inception", "bn_baseline"),
    )


def missing(runs: Runs, arms: Iterable[Arm]) -> list[str]:
    """The arms that lack planned runs: ``BN-x30 (2 of 3 runs)``."""
    counts = [(arm, len(arm.of(runs).runs), len(runs.planned(**arm.keys))) for arm in arms]
    return [
        f"{arm.label} ({here} of {count(planned, 'run')})"
        for arm, here, planned in counts
        if here < planned
    ]


def pair(runs: Runs, bn: Arm, plain: Arm) -> dict[str, Any]:
    """With BN and without, all else the same: the maxima, and the steps to the best without."""
    if any(arm.of(runs).runs.empty for arm in (bn, plain)):
        return {}
    target = target_of(runs, plain)
    steps = [median_steps(runs, arm, target) for arm in (bn, plain)]
    return {
        "best": [best(runs, arm) for arm in (bn, plain)],
        "gap": maximum_gap(runs, bn, plain),
        "target": target,
        "steps": [steps_to.shown(s, runs.last_step) for s in steps],
        "fewer": speed_up(runs, plain, bn, plain) if np.isfinite(steps[0]) else None,
    }


def draw_pair(ax: Axes, runs: Runs, bn: Arm, plain: Arm) -> Axes:
    """Validation accuracy with BN and without, and the best without as a dotted line."""
    target = target_of(runs, plain)
    if not math.isnan(target):
        panels.reference(ax, target, f"{plain.label}'s best, {100 * target:.1f} %")
    return draw_curves(ax, runs, (bn, plain))


def draw_curves(ax: Axes, runs: Runs, arms: Iterable[Arm]) -> Axes:
    """Validation accuracy against steps."""
    for arm in arms:
        panels.curves(ax, curves(runs, arm), arm, markers=8)
    ax.set_xlim(0, runs.last_step)
    ax.set_ylim(0, None)
    return style.steps_axis(style.percent_axis(ax))


def name_ends(ax: Axes, runs: Runs, arms: Iterable[Arm]) -> Axes:
    """The arms' names at the right, each at its median's last value; after the limits are set."""
    known = [(arm, curves(runs, arm)) for arm in arms]
    return panels.label_ends(ax, [(a, float(w.iloc[:, -1].median())) for a, w in known if w.size])
