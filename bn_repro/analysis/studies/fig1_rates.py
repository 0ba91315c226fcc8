"""Figure 1a made fair: each arm at its own best learning rate of one grid (sec. 4.1)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, steps_to, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.studies.fig1 import ARMS, BASELINE, BN, CHANCE
from bn_repro.analysis.tables import StudyData

TITLE = "Figure 1, each arm at its own best learning rate"
WHAT = (
    "The comparison of Figure 1(a) depends on a learning rate that the paper does not print. Here "
    "both arms train at every rate of one grid with 10,000 of the 60,000 training images held out "
    "(`grid`); each arm's rate is the one with the best mean accuracy on these images at the last "
    "step; then fresh seeds train at that rate on all 60,000 images, and only these are measured "
    "on the test set (`final`)."
)
DEVIATIONS = (
    "- The paper has no such comparison: it prints no rate, nor how it was chosen.\n"
    "- A diverged run counts as chance (0.1).\n"
    "- The rate alone is tuned; the initial scale (0.1) and the schedule (constant) are common."
)
IN_SHORT = "The rate alone is tuned; the paper has no such comparison."
CAPTIONS = {
    "figure1_rates": "Left: accuracy on held-out images at every rate of the grid, the chosen rate "
    "ringed, the good rates as bars. Right: test accuracy of fresh seeds, each arm at its own rate."
}
TRACES = False  # no figure of this study needs them, and they would be most of its bytes

RATE = "optimizer.lr"


def grid(data: StudyData, experiment: str) -> Grid | None:
    """The arm's accuracy on held-out images over (rates, seeds); None where there are no runs."""
    runs = grids.last(grids.held_out(data, True, experiment), "val", diverged=CHANCE)
    return grids.grid(runs, [RATE])


def good(found: Grid) -> tuple[float, float]:
    """The lowest and the highest of the rates around the best that are all good."""
    low, high = grids.good_range(found.means)
    return found.axes[0][int(low)], found.axes[0][int(high)]


def final_rate(data: StudyData, experiment: str) -> float:
    """The rate of the final runs; NaN where there are none."""
    rates = set(grids.held_out(data, False, experiment).runs[RATE].tolist())
    if len(rates) > 1:
        raise ValueError(f"fig1_rates: the final runs of {experiment} have several rates: {rates}")
    return float(rates.pop()) if rates else math.nan


def finals(data: StudyData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(baseline, BN) test accuracy at their own best rates, over common seeds and steps."""
    a, b = (tables.curve(grids.held_out(data, False, arm), arm, diverged=CHANCE) for arm in ARMS)
    seeds, steps = a.index.intersection(b.index), a.columns.intersection(b.columns)
    return a.loc[seeds, steps], b.loc[seeds, steps]


def target_of(a: pd.DataFrame) -> float:
    """The best accuracy that the baseline reaches: the maximum of its median curve over seeds."""
    return round(float(np.median(a.to_numpy(float), axis=0).max()), 4) if a.size else math.nan


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    return 0.9, 0.95, 0.97


# --- claims ---------------------------------------------------------------------------------------


def claims(data: StudyData) -> list[Claim]:
    """What remains of Figure 1(a) at each arm's own best rate."""
    a, b = finals(data)
    target = target_of(a)
    if a.size:
        steps = [steps_to.by_row(wide, target) for wide in (a, b)]
        fewer = steps_to.speed_up(*steps, paired=True)
    else:
        fewer = Interval(math.nan, math.nan, math.nan, 0)
    wider = _wider(grid(data, BASELINE), grid(data, BN))
    where = "4.1, Figure 1(a)"
    reached = "" if math.isnan(target) else f" ({100 * target:.1f} %)"
    return [
        c.higher_at_the_end(
            a,
            b,
            "Each at its own best rate, BN ends with the higher test accuracy.",
            where,
        ),
        c.ahead_at_each_step(
            a, b, "Each at its own best rate, BN is ahead at each evaluated step.", where
        ),
        c.claim(
            "steps_to_baseline_best_ratio",
            "Each at its own best rate, BN needs fewer steps to the best accuracy of the baseline"
            f"{reached}.",
            "4.1, Figure 1(a); 1",
            "The target is the maximum of the baseline's median test curve; a run's steps are the "
            "first evaluated step that reaches it, infinite if none does. Median steps of the "
            "baseline over median steps with BN, resampling seeds (paired) at the fixed target: "
            "how many times fewer BN needs. Holds if the 95 % interval lies above 1, does not hold "
            "if below.",
            fewer,
            c.verdict(fewer, above=1.0),
        ),
        c.claim(
            "good_rates_ratio",
            "BN trains well over a wider range of learning rates, at initial scale 0.1.",
            "3.3",
            "Good rates are those around an arm's best whose mean accuracy on held-out images is "
            "within one point of it, without a gap; their range is highest over lowest. Range with "
            "BN over range without, resampling seeds (paired over arms and rates). Holds if the "
            "95 % interval lies above 1, does not hold if below. The grid of rates is the "
            "resolution, and its ends are limits.",
            wider,
            c.verdict(wider, above=1.0),
        ),
    ]


def _wider(without: Grid | None, with_bn: Grid | None) -> Interval:
    if without is None or with_bn is None or without.seeds != with_bn.seeds:
        return Interval(math.nan, math.nan, math.nan, 0)

    def compute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        spans = []
        for found, values in ((without, a), (with_bn, b)):
            low, high = grids.good_range(values.mean(axis=-1))
            rates = np.array(found.axes[0])
            spans.append(rates[high] / rates[low])
        return spans[1] / spans[0]

    return intervals.bootstrap(compute, without.values, with_bn.values, paired=True)


# --- figure ---------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure1_rates``: accuracy against the rate, and the test curves at the chosen rates."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_rates(left, data)
        draw_finals(right, data)
        return {"figure1_rates": figure}


def draw_rates(ax: Axes, data: StudyData) -> Axes:
    """Held-out accuracy against the learning rate, a point per seed, the chosen rate ringed."""
    highest = 0.9
    for experiment, arm in ARMS.items():
        found = grid(data, experiment)
        if found is None:
            continue
        (rates,), means, (best,) = found.axes, found.means, found.best
        highest = max(highest, found.values.max())
        low, high = good(found)
        ax.plot(rates, means, color=arm.color, ls=arm.linestyle, label=arm.label)
        ax.plot(
            np.repeat(rates, len(found.seeds)),
            found.values.ravel(),
            **{"ls": "none", "marker": arm.marker, "color": arm.color, "ms": 3.2},
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
        ax.plot(
            [rates[best]],
            [means[best]],
            **{"ls": "none", "marker": "o", "ms": 11, "mfc": "none", "mec": arm.color, "mew": 1.2},
        )
        height = 0.14 if experiment == BN else 0.095
        ax.plot(
            [low, high],
            [height, height],
            transform=ax.get_xaxis_transform(),
            **{"color": arm.color, "lw": 3.0, "marker": "|", "ms": 7, "solid_capstyle": "butt"},
        )
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, 1 - 0.6 * (1 - highest))
    ax.axhline(CHANCE, color=style.INK, lw=0.7, ls=(0, (1, 2)))
    ax.text(0.01, CHANCE, "chance", transform=ax.get_yaxis_transform(), va="bottom", fontsize=6.5)
    ax.text(
        0.01,
        0.185,
        "rates within 1 point of the arm's best",
        **{"transform": ax.transAxes, "va": "center", "fontsize": 6.5},
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("learning rate")
    ax.set_ylabel("accuracy on held-out images")
    ax.set_title("every seed, mean, chosen rate (ring)")
    ax.legend(loc="upper left")
    return ax


def draw_finals(ax: Axes, data: StudyData) -> Axes:
    """Test accuracy of the fresh seeds at each arm's own best rate."""
    a, b = finals(data)
    for experiment, wide in ((BASELINE, a), (BN, b)):
        arm = ARMS[experiment]
        label = f"{arm.label}, rate {final_rate(data, experiment):g}"
        style.plot_curves(ax, wide, style.Arm(label, arm.color, arm.linestyle, arm.marker))
    if a.size:
        both = np.concatenate([a.to_numpy(float), b.to_numpy(float)])
        low, high = float(both.min()), float(both.max())
        style.error_axis(ax, low, 1 - 0.9 * (1 - high))
        ticks = [t for t in (*style.ERROR_TICKS, 0.96, 0.975, 0.985) if low < t < high]
        ax.yaxis.set_major_locator(FixedLocator(sorted(ticks) or [low, high]))
        target = target_of(a)
        best = f"best of the baseline, {target:.4f}"
        ax.axhline(target, color=style.INK, lw=0.7, ls=(0, (1, 2)), label=best)
        ax.set_xlim(0, float(a.columns[-1]))
        ax.legend(loc="lower right")
    style.steps_axis(ax)
    ax.set_ylabel("test accuracy")
    ax.set_title("fresh seeds at each arm's own best rate")
    return ax


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """What remains of Figure 1(a)'s claim; markdown."""
    return (
        "The paper prints no learning rate, and the gap may hang on it: here each arm has its own "
        f"best rate of one grid, chosen on held-out images, and fresh seeds. {_remains(data)}"
    )


def findings(data: StudyData) -> str:
    """The honest sentence, and the numbers behind it; markdown."""
    a, b = finals(data)
    lines = []
    if a.size:
        lines += [f"**What remains of the claim.** {_remains(data)}", ""]
        for arm, wide in ((BASELINE, a), (BN, b)):
            final = intervals.interval(wide.to_numpy(float)[:, -1])
            seeds = style.count(len(wide), "fresh seed")
            lines.append(
                f"- **{ARMS[arm].label}** at its best rate, {final_rate(data, arm):g}: "
                f"{final.percent()} on the test set (mean of {seeds})."
            )
        ahead = fig1.ahead_in_words(a, b)
        lines += [ahead] if ahead else []
        target, last = target_of(a), float(a.columns[-1])
        medians = [
            steps_to.shown(steps_to.median_steps(steps_to.by_row(wide, target)), last)
            for wide in (a, b)
        ]
        lines.append(
            f"- **Steps to the baseline's best** ({100 * target:.1f} %): median {medians[0]} "
            f"without BN, {medians[1]} with."
        )
    return "\n".join([*lines, *_grid_in_words(data)])


def _remains(data: StudyData) -> str:
    end, ahead, fewer, wider = claims(data)
    gap = f"{c.shown(end.id, end.estimate, end.low, end.high)}"
    if end.verdict == "holds":
        first = f"At each arm's own best rate BN still ends higher, by {gap}"
    elif end.verdict == "does not hold":
        first = f"At each arm's own best rate BN does not end higher: the difference is {gap}"
    else:
        first = f"At each arm's own best rate no difference at the end can be told: {gap}"
    second = {
        "holds": "it is ahead at every evaluated step",
        "does not hold": "it is not ahead at every evaluated step",
        "undecided": "whether it is ahead at every evaluated step is undecided",
    }[ahead.verdict]
    third = {
        "holds": "it needs fewer steps to the baseline's best accuracy "
        f"(by a factor of {c.shown('_', fewer.estimate, fewer.low, fewer.high)})",
        "does not hold": "it needs more steps to the baseline's best accuracy",
        "undecided": "whether it needs fewer steps to the baseline's best accuracy is undecided",
    }[fewer.verdict]
    fourth = {
        "holds": "its range of good rates is wider",
        "does not hold": "its range of good rates is not wider",
        "undecided": "whether its range of good rates is wider is undecided",
    }[wider.verdict]
    return f"{first}; {second}; {third}; {fourth}."


def _grid_in_words(data: StudyData) -> list[str]:
    found = {arm: grid(data, arm) for arm in ARMS}
    lines = []
    for experiment, table in found.items():
        if table is None:
            continue
        (rates,), (best,), (low, high) = table.axes, table.best, good(table)
        ends = (low == rates[0], high == rates[-1])
        edge = " (the range ends where the grid does: it may be wider)" if any(ends) else ""
        lines.append(
            f"- **Good rates, {ARMS[experiment].label}**: {low:g} to {high:g} are within one point "
            f"of the best, {rates[best]:g}{edge}."
        )
        rate = final_rate(data, experiment)
        if not math.isnan(rate) and rate != rates[best]:
            lines.append(
                f"- The final runs of {ARMS[experiment].label} used {rate:g}, which is not the "
                "best rate of the grid as it now stands."
            )
    without, with_bn = found[BASELINE], found[BN]
    if without is None or with_bn is None:
        return lines
    lines += [
        "",
        "Accuracy on held-out images at the last step, mean over "
        f"{style.count(len(without.seeds), 'seed')}:",
        "",
        "| learning rate | without BN | with BN | difference, points |",
        "|---|---|---|---|",
    ]
    for x, rate in zip(without.means, without.axes[0], strict=True):
        for y in with_bn.means[[other == rate for other in with_bn.axes[0]]]:
            lines.append(f"| {rate:g} | {100 * x:.1f} % | {100 * y:.1f} % | {100 * (y - x):+.2f} |")
    return lines
