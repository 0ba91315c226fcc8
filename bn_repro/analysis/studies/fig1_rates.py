"""Figure 1a made fair: each arm at its own best learning rate of one grid (sec. 4.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, panels, steps_to, style, tables
from bn_repro.analysis.claims import Claim, Quantity
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

RATE = "optimizer.lr"


def grid(runs: Runs, arm: Arm) -> Grid | None:
    """The arm's accuracy on held-out images over (rates, seeds); None where there are no runs."""
    tried = runs.where(block="grid").final("val", diverged=runs.chance)
    return grids.grid(arm.of(tried), [RATE])


def good(found: Grid) -> tuple[float, float]:
    """The lowest and the highest of the rates around the best that are all good."""
    low, high = grids.good_range(found.means)
    return found.axes[0][int(low)], found.axes[0][int(high)]


def final_rate(runs: Runs, arm: Arm) -> float:
    """The rate of the arm's final runs; NaN where there are none."""
    return next(iter(arm.of(runs.where(block="final")).final().levels(RATE)), math.nan)


def finals(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(without, with BN) test accuracy at their own best rates, over common seeds and steps."""
    return tables.shared(*fig1.curves(runs.where(block="final")))


def target_of(without: pd.DataFrame) -> float:
    """The best accuracy reached without BN: the maximum of the median curve over seeds."""
    median = np.median(without.to_numpy(float), axis=0) if without.size else np.array([np.nan])
    return round(float(median.max()), 4)


def claims(runs: Runs) -> Iterator[Claim]:
    """What remains of Figure 1(a) at each arm's own best rate."""
    (without, with_bn), where = finals(runs), "4.1, Figure 1(a)"
    yield Claim(
        "final_accuracy_difference",
        "Each at its own best rate, BN ends with the higher test accuracy.",
        where,
        c.higher_at_the_end(with_bn, without, fig1.NAMES),
        c.Above(),
    )
    yield Claim(
        "ahead_at_each_step_difference",
        "Each at its own best rate, BN is ahead at each evaluated step.",
        where,
        *c.ahead_at_each_step(with_bn, without, fig1.NAMES),
    )
    reached = f" ({100 * target_of(without):.1f} %)" * bool(without.size)
    yield Claim(
        "steps_to_baseline_best_ratio",
        "Each at its own best rate, BN needs fewer steps to the best accuracy of the baseline"
        f"{reached}.",
        f"{where}; 1",
        _fewer_steps(without, with_bn),
        c.Above(1.0),
    )
    yield Claim(
        "good_rates_ratio",
        "BN trains well over a wider range of learning rates, at initial scale 0.1.",
        "3.3",
        Quantity(
            "Good rates are those around an arm's best, without a gap, whose mean accuracy on "
            "held-out images is within one point of it. Highest over lowest with BN, over the same "
            "without BN, resampling seeds (paired over arms and rates). The grid limits both",
            _wider(*(grid(runs, arm) for arm in MNIST_ARMS)),
            "x",
        ),
        c.Above(1.0),
    )


def _fewer_steps(without: pd.DataFrame, with_bn: pd.DataFrame) -> Quantity:
    target, both = target_of(without), (without, with_bn)
    steps = [steps_to.by_row(wide, target) if wide.size else np.array([]) for wide in both]
    return Quantity(
        "Median steps to the maximum of the baseline's median test curve (the first evaluated "
        "step that reaches it, infinite if none does), of the baseline over those with BN, "
        "resampling seeds (paired) at the fixed target",
        steps_to.speed_up(*steps, paired=True),
        "x",
        never=("BN", "the baseline"),
    )


def _wider(without: Grid | None, with_bn: Grid | None) -> intervals.Interval:
    if without is None or with_bn is None or without.seeds != with_bn.seeds:
        return c.NOTHING
    rates = [np.array(found.axes[0]) for found in (without, with_bn)]

    def compute(*accuracies: np.ndarray) -> np.ndarray:
        ends = [grids.good_range(values.mean(axis=-1)) for values in accuracies]
        below, above = (r[high] / r[low] for r, (low, high) in zip(rates, ends, strict=True))
        return above / below

    return intervals.bootstrap(compute, without.values, with_bn.values, paired=True)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure1_rates``: accuracy against the rate, and the test curves at the chosen rates."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        style.letters([draw_rates(left, runs), draw_finals(right, runs)])
        return {"figure1_rates": figure}


def draw_rates(ax: Axes, runs: Runs) -> Axes:
    """Held-out accuracy against the learning rate, a point per seed, the chosen rate ringed."""
    highest, height = 0.9, ax.get_xaxis_transform()
    for place, (arm, found) in enumerate((arm, grid(runs, arm)) for arm in MNIST_ARMS):
        if found is None:
            continue
        (rates,), (best,) = found.axes, found.best
        highest = max(highest, found.values.max())
        panels.along(ax, rates, found.values, arm)
        ax.plot([rates[best]], [found.means[best]], **panels.RING, mec=arm.color)
        bar: dict[str, Any] = {"color": arm.color, "marker": "|", "ms": 7, "transform": height}
        ax.plot(good(found), [0.13 + 0.045 * place] * 2, lw=3, solid_capstyle="butt", **bar)
    ax.set(xscale="log", xlabel="learning rate")
    ax.xaxis.set_major_formatter("{x:g}")
    style.error_axis(ax, 0.0, 1 - 0.6 * (1 - highest), "accuracy on held-out images")
    panels.reference(ax, runs.chance, "chance")
    ax.text(0.01, 0.21, "rates within 1 point of best", transform=ax.transAxes, fontsize=6.5)
    ax.set_title("held-out images, every rate")
    ax.legend(loc="upper left")
    return ax


def draw_finals(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy of the fresh seeds at each arm's own best rate."""
    without, with_bn = finals(runs)
    for arm, wide in zip(MNIST_ARMS, (without, with_bn), strict=True):
        panels.curves(ax, wide, arm.with_(label=f"{arm.label}, rate {final_rate(runs, arm):g}"))
    if without.size:
        target, both = target_of(without), np.stack([without, with_bn])
        low, high = both.min(), both.max()
        style.error_axis(ax, low, 1 - 0.9 * (1 - high))
        ticks = [t for t in (*style.ERROR_TICKS, 0.96, 0.975, 0.985) if low < t < high]
        ax.yaxis.set_major_locator(FixedLocator(sorted(ticks) or [low, high]))
        panels.reference(ax, target).lines[-1].set_label(f"best without BN, {100 * target:.1f} %")
        ax.set_xlim(0, float(without.columns[-1]))
        ax.legend(loc="lower right")
    style.steps_axis(ax).set_title("test images, own best rate")
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    without, with_bn = finals(runs)
    target, lead = target_of(without), c.differences(with_bn, without, intervals.LEVEL)
    unsure = [found.estimate if math.isnan(found.low) else found.low for found in lead]
    tried = {arm.label: grid(runs, arm) for arm in MNIST_ARMS}
    arms = []
    for arm, wide in zip(MNIST_ARMS, (without, with_bn), strict=True):
        if wide.size:
            steps = steps_to.median_steps(steps_to.by_row(wide, target))
            shown = {"label": arm.label, "rate": final_rate(runs, arm), "final": wide.iloc[:, -1]}
            arms.append(shown | {"steps": steps_to.shown(steps, wide.columns[-1])})
    return {
        "arms": arms,
        "target": target,
        "ahead": sum(found.low > 0 for found in lead),
        "in_every_seed": int((with_bn > without).all().sum()),
        "worst_step": without.columns[np.argmin(unsure)] if lead else 0,
        "evaluations": len(lead),
        "grids": {label: (found, good(found)) for label, found in tried.items() if found},
    }


STUDY = Study(
    prose="fig1_rates.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=(0.9, 0.95, 0.97),
)
