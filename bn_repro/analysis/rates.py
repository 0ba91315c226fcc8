"""BN and nothing else, against none: at Inception's rate, and at 5 times that (sec. 4.2.2)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, networks, steps_to, style
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.networks import BN_BASELINE, BN_BASELINE_X5, INCEPTION, NETWORKS, X5, Setting
from bn_repro.analysis.tables import StudyData

SAME_RATE = {BN_BASELINE_X5: replace(NETWORKS[BN_BASELINE], label="BN-Baseline-x5")}
"""The paper has Inception at this rate, and no BN-Baseline."""
PAIRS = {"0.0015": (BN_BASELINE, INCEPTION), "0.0075": (BN_BASELINE_X5, X5)}
"""By rate: with BN and without, all else the same; both from He's initial weights."""
ARMS = NETWORKS | SAME_RATE | {X5: replace(NETWORKS[INCEPTION], label="Inception-x5")}


def figure(data: StudyData) -> Figure:
    """A panel for each rate."""
    figure = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
    for ax, rate in zip(figure.subplots(1, 2, sharey=True), PAIRS, strict=True):
        draw(ax, data, rate)
    figure.axes[0].set_ylabel("single-crop validation accuracy")
    return figure


def draw(ax: Axes, data: StudyData, rate: str) -> Axes:
    """Accuracy with BN and without at ``rate``, and the best without it."""
    ends = {}
    for network in PAIRS[rate]:
        wide, arm = networks.curves(data, network), ARMS[network]
        style.plot_curves(ax, wide, arm, markers=8)
        if wide.size:
            ends[arm.label] = (float(wide.iloc[:, -1].median()), arm.color)
    target = networks.target_of(data, PAIRS[rate][1])
    if not math.isnan(target):
        ax.axhline(target, color=style.INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
    ax.set_xlim(0, networks.last_step(data))
    highest = max(networks.best(data, n).max(initial=0) for pair in PAIRS.values() for n in pair)
    ax.set_ylim(0, 1.05 * max(highest, networks.CHANCE))
    ax.set_title(f"learning rate {rate}")
    networks.label_ends(style.steps_axis(networks.percent_axis(ax)), ends, gap=0.075)
    return ax


def findings(data: StudyData) -> list[str]:
    """What BN alone gains at each rate, where both have its runs; markdown."""
    if any(networks.part(data, network).runs.empty for pair in PAIRS.values() for network in pair):
        return []
    told = "; ".join(f"at rate {rate} {gain(data, *pair)}" for rate, pair in PAIRS.items())
    judged = [c.verdict(gap(data, *pair), above=0.0) for pair in PAIRS.values()]
    only_higher = judged == ["does not hold", "holds"]
    so = " So it is the rate: at the higher one BN alone is ahead." * only_higher
    return [
        f"- **BN and nothing else, at two rates**: {told}.{so} BN-Baseline at the higher rate was "
        "added after a first look, to see whether it is its rate that holds it back; the paper has "
        "Inception there (it fails), and no BN-Baseline. Both networks at the lower rate in longer "
        "runs: `fig3_longer`."
    ]


def gap(data: StudyData, bn: Setting, plain: Setting) -> Interval:
    """The maximum accuracy with BN minus that without."""
    values = networks.best(data, bn), networks.best(data, plain)
    return intervals.difference(*values, paired=False)


def gain(data: StudyData, bn: Setting, plain: Setting) -> str:
    """The maxima with BN and without, and the steps of both to the one without; markdown."""
    with_bn, without = (100 * networks.best(data, network).mean() for network in (bn, plain))
    found = gap(data, bn, plain)
    points = c.shown("_difference", found.estimate, found.low, found.high)
    return (
        f"the maximum is {with_bn:.1f} % with BN and {without:.1f} % without ({points}), and the "
        f"best without BN, {_steps(data, bn, plain)}"
    )


def _steps(data: StudyData, bn: Setting, plain: Setting) -> str:
    target, last = networks.target_of(data, plain), networks.last_step(data)
    fast, slow = (
        float(np.median(steps_to.at(networks.curves(data, network), target)))
        for network in (bn, plain)
    )
    said = (
        f"{100 * target:.1f} %, takes {steps_to.shown(fast, last)} steps with BN and "
        f"{steps_to.shown(slow, last)} without"
    )
    if math.isinf(fast):
        return said
    ratio = networks.speed_up(data, plain, bn, to_best_of=plain)
    return f"{said} ({c.shown('_ratio', ratio.estimate, ratio.low, ratio.high)} fewer)"
