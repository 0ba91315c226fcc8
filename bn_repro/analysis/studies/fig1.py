"""Figure 1 (sec. 4.1): MNIST with and without BN; accuracy, and the inputs of the sigmoids."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullLocator

from bn_repro import paper
from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, movement, steps_to, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.tables import StudyData

TITLE = "Figure 1: MNIST, with and without Batch Normalization"
WHAT = (
    "Section 4.1 of the paper: three hidden layers of 100 sigmoid units on binary 28x28 digits, "
    "mini-batches of 60. The two arms differ in the norm alone: a seed gives both the "
    "same initial weights and the same mini-batches, so differences are paired by seed."
)
DEVIATIONS = (
    "- The paper prints neither the learning rate nor the initial scale: 0.1 and 0.1 here "
    "(`fig1_rates` compares each arm at its own best rate). Nor does it say whether there was "
    "momentum: none here.\n"
    '- The paper shows one run of each arm; every seed is shown here. Its "typical activation" is '
    "unit 0 of the last hidden layer here, in every seed, whatever that unit does.\n"
    "- Pixels are binary by a threshold at > 127; eps is 1e-5, moving averages keep 0.9 of the old."
)
IN_SHORT = (
    "The learning rate and the initial scale, 0.1 and 0.1, are this project's choice: the paper "
    "prints neither."
)
CAPTIONS = {
    "figure1": "(a) Test accuracy of every seed (faint) and their median, BN's lead below; (b, c) "
    "the {15, 50, 85}th percentiles of the input of the last sigmoids, one unit above and the "
    "whole layer below.",
    "figure1_units": "The percentiles of unit 0 of the last hidden layer, in every seed.",
    "figure1_layers": "Every hidden layer: the width of its inputs' distribution, their saturated "
    "share, and the norm of their gradient.",
}
TRACES = True

ARMS = {"mnist/baseline": style.BASELINE, "mnist/bn": style.BN}
BASELINE, BN = ARMS
CHANCE = 0.1
SITES = ("hidden1", "hidden2", "hidden3")
LAST = SITES[-1]
STARTS = (1, 1_000, 10_000)
"""Where in training the measure of movement starts, in the findings."""


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    return 0.9, 0.95, 0.97


# --- claims ---------------------------------------------------------------------------------------


def paired_curves(data: StudyData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(baseline, BN) test accuracy, seed by step, over the seeds and steps that both arms have."""
    a, b = (tables.curve(data, arm, diverged=CHANCE) for arm in (BASELINE, BN))
    seeds, steps = a.index.intersection(b.index), a.columns.intersection(b.columns)
    return a.loc[seeds, steps], b.loc[seeds, steps]


def claims(data: StudyData) -> list[Claim]:
    """The claims of section 4.1, in the paper's order."""
    a, b = paired_curves(data)
    where = "4.1, Figure 1(a)"
    found = [
        c.higher_at_the_end(a, b, "With BN the network reaches a higher test accuracy.", where),
        c.ahead_at_each_step(a, b, "BN is ahead at each evaluated step.", where),
    ]
    for name, unit, words in (("unit", 0, "unit 0"), ("layer", None, "all units, pooled,")):
        ratio = movement.movement_ratio(data, BN, BASELINE, LAST, unit)
        what = "one unit" if unit == 0 else "the layer"
        found.append(
            c.claim(
                f"percentile_movement_{name}_ratio",
                f"With BN the inputs of the last sigmoids ({what}) have a more stable distribution "
                "as training progresses.",
                "4.1, Figure 1(b, c)",
                "Movement of the {15, 50, 85}th percentiles, over the training mini-batch, of the "
                f"sigmoid's input for {words} of the last hidden layer: {movement.RULE}. "
                "BN / baseline, paired by seed: geometric mean with its 95 % bootstrap interval. "
                "Holds if the interval lies below 1, does not hold if above.",
                ratio,
                c.verdict(ratio, below=1.0),
            )
        )
    return found


# --- figures --------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure1`` as in the paper; ``figure1_units``, every seed's unit; ``figure1_layers``."""
    with style.context():
        drawn = {"figure1": _figure1(data)}
        if not data.traces.empty:
            drawn |= {"figure1_units": _units(data), "figure1_layers": _layers(data)}
        return drawn


def _last_step(frame: pd.DataFrame) -> int:
    return int(frame["step"].to_numpy().max())


def _figure1(data: StudyData) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[1.0, 1.3])).flat
    top, bottom = left.subplots(2, 1, height_ratios=[2.1, 1.0], sharex=True)
    draw_accuracy(top, data)
    draw_difference(bottom, data)
    if not data.traces.empty:
        _draw_percentiles(right, data)
    return figure


def _paper_range(ax: Axes, last: int) -> Axes:
    """The paper's steps, 10K to 50K, or all where the runs are shorter than that."""
    start, stop = paper.FIGURE1_STEPS
    ax.set_xlim(start if last > start else 0, last)
    return style.steps_axis(ax, range(start, last + 1, start) if last >= stop else None)


def draw_accuracy(ax: Axes, data: StudyData) -> Axes:
    """1(a): test accuracy against steps in the paper's axes; what came before 10K steps inset."""
    last, (start, _) = _last_step(data.curves), paper.FIGURE1_STEPS
    inset = ax.inset_axes((0.2, 0.11, 0.77, 0.53)) if last > start else None
    for experiment, arm in ARMS.items():
        wide = tables.curve(data, experiment, diverged=CHANCE)
        style.plot_curves(ax, wide, arm)
        if inset is not None:
            style.plot_curves(inset, wide.loc[:, wide.columns <= start], arm, markers=5)
    exact = tables.curve(data, BN, statistics="population")
    if exact.size:
        ax.plot(
            [exact.columns[-1]],
            [exact.iloc[:, -1].median()],
            **{"marker": "D", "ls": "none", "ms": 6, "mfc": "none", "mec": style.INK, "mew": 0.9},
            clip_on=False,
            zorder=5,
            label="with BN, Algorithm 2",
        )
    handles, labels = ax.get_legend_handles_labels()
    if inset is None:
        ax.legend(handles, labels, loc="lower right")
    else:
        ax.set_ylim(*paper.FIGURE1_ACCURACY)
        inset.set_title("the first 10,000 steps", fontweight="normal", fontsize=7, pad=3)
        inset.set_xlim(0, start)
        style.steps_axis(inset, (0, start // 2, start)).set_xlabel("")
        inset.legend(handles, labels, loc="lower right", fontsize=7, handlelength=2.4)
    _paper_range(ax, last).set_xlabel("")
    ax.set_ylabel("test accuracy")
    ax.set_title("(a)  test accuracy")
    return ax


def draw_difference(ax: Axes, data: StudyData) -> Axes:
    """Below 1(a): BN minus baseline in percentage points, paired by seed, with its interval."""
    a, b = paired_curves(data)
    last, (start, _) = _last_step(data.curves), paper.FIGURE1_STEPS
    difference = 100 * (b - a)
    if last > start:
        difference = difference.loc[:, difference.columns >= start]
    steps = difference.columns.to_numpy(float)
    for values in difference.to_numpy():
        ax.plot(steps, values, color=style.INK, lw=0.5, alpha=style.FAINT)
    found = [intervals.interval(column) for column in difference.to_numpy().T]
    ax.fill_between(
        steps,
        [f.low for f in found],
        [f.high for f in found],
        color=style.BN.color,
        alpha=0.25,
        lw=0,
    )
    ax.plot(steps, [f.estimate for f in found], color=style.BN.color)
    ax.axhline(0, color=style.INK, lw=0.8)
    if difference.size:
        low, high = min(0.0, difference.to_numpy().min()), difference.to_numpy().max()
        ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    _paper_range(ax, last)
    ax.set_ylabel("points")
    ax.set_title("with BN minus without, paired by seed", fontweight="normal", fontsize=7.5)
    return ax


def early_and_late_axis(ax: Axes, last: int) -> Axes:
    """Steps on one axis in two scales: logarithmic to 10,000, then linear as in the paper."""
    start, stop = paper.FIGURE1_STEPS
    if last <= start:
        ax.set_xscale("log")
        ax.set_xlim(1, last)
        return style.steps_axis(ax)
    early = 0.7  # of the width of the late part

    def forward(x: np.ndarray) -> np.ndarray:
        x = np.maximum(np.asarray(x, dtype=float), 1e-9)
        late = early + (x - start) / (last - start)
        return np.where(x < start, early * np.log(x) / np.log(start), late)

    def inverse(y: np.ndarray) -> np.ndarray:
        y = np.asarray(y, dtype=float)
        # both branches are computed: without the minimum the one not taken could overflow
        log = np.exp(np.minimum(y, early) / early * np.log(start))
        return np.where(y < early, log, start + (y - early) * (last - start))

    ax.set_xscale("function", functions=(forward, inverse))
    ax.set_xlim(1, last)
    late = range(start, last + 1, start) if last >= stop // 2 else (start, last)
    style.steps_axis(ax, [1, 10, 100, 1_000, *late])
    labelled = {1, 100, start, 3 * start, 5 * start, last}
    ax.xaxis.set_major_formatter(lambda x, _: style.thousands(x) if round(x) in labelled else "")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.axvline(start, color=style.INK, lw=0.6, ls=(0, (1, 2)))
    return ax


def _input_limit(shown: list[np.ndarray]) -> float:
    """The paper's limit where the data fit it, or else the next half that holds them."""
    largest = max((float(np.abs(p).max()) for p in shown), default=0.0)
    return max(paper.FIGURE1_INPUTS[1], math.ceil(2 * largest) / 2)


def _draw_percentiles(figure: SubFigure, data: StudyData) -> None:
    """1(b), 1(c): the percentiles of one seed's unit, as the paper; below, all units and seeds."""
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    shown: dict[Axes, np.ndarray] = {}
    for column, (experiment, arm) in enumerate(ARMS.items()):
        top, bottom = axes[:, column]
        top.set_title(f"({'bc'[column]})  {arm.label}")
        units = movement.tracks(data, experiment, LAST, 0)
        for seed, (steps, values) in list(units.items())[:1]:
            for row in values:
                top.plot(steps, row, color=arm.color, lw=0.4, alpha=0.4)
            shown[top] = movement.smoothed(values)
            style.plot_percentiles(top, steps, shown[top], arm)
            axes[0, 0].set_ylabel(f"input to the last sigmoid\none unit, seed {seed}")
        layer = movement.tracks(data, experiment, LAST, None)
        for steps, values in layer.values():
            for row in values:
                bottom.plot(steps, row, color=arm.color, lw=0.4, alpha=style.FAINT)
        if layer:
            steps, shown[bottom] = movement.median_track(layer)
            style.plot_percentiles(bottom, steps, shown[bottom], arm)
            axes[1, 0].set_ylabel(
                f"input to the last sigmoids\nall units, {style.count(len(layer), 'seed')}"
            )
        for ax in (top, bottom):
            early_and_late_axis(ax, _last_step(data.traces))
        top.set_xlabel("")
    limit = _input_limit(list(shown.values()))
    axes[0, 0].set_ylim(-limit, limit)
    for ax in axes[:, 1]:
        if ax in shown:
            style.name_percentiles(ax, shown[ax][:, -1])


def _units(data: StudyData) -> Figure:
    """Unit 0 of every seed: is the one that figure 1 shows typical?"""
    by_arm = {arm: movement.tracks(data, arm, LAST, 0) for arm in ARMS}
    seeds = sorted({seed for by_seed in by_arm.values() for seed in by_seed})
    per_row = min(5, max(1, len(seeds)))
    rows = max(1, math.ceil(len(seeds) / per_row))
    figure = Figure(figsize=(style.WIDTH, 0.5 + 2.0 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, per_row, sharex=True, sharey=True, squeeze=False)
    last, shown = _last_step(data.traces), []
    for (line, experiment), (place, seed) in product(enumerate(ARMS), enumerate(seeds)):
        ax = axes[2 * (place // per_row) + line, place % per_row]
        if seed in by_arm[experiment]:
            steps, values = by_arm[experiment][seed]
            style.plot_percentiles(ax, steps, movement.smoothed(values), ARMS[experiment])
            shown.append(movement.smoothed(values))
        if line == 0:
            ax.set_title(f"seed {seed}", fontweight="normal", fontsize=7.5, pad=3)
        if place % per_row == 0:
            ax.set_ylabel(ARMS[experiment].label)
    for ax in axes.flat:
        ax.set_xlim(0, last)
        if not ax.lines:
            ax.set_axis_off()
    for ax in axes[-1]:
        style.steps_axis(ax, (0, last // 2, last)).set_xlabel("")
    limit = _input_limit(shown)
    axes[0, 0].set_ylim(-limit, limit)
    figure.supxlabel("training steps", fontsize=8)
    figure.supylabel("input to the sigmoid of unit 0, last hidden layer", fontsize=8)
    return figure


def _layers(data: StudyData) -> Figure:
    """What the sigmoids of every layer see: width, saturation, gradient, as running medians."""
    rows = {"width": "p85 - p15", "saturated": "saturated share", "grad_norm": "gradient norm"}
    figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
    axes = figure.subplots(len(rows), len(SITES), sharex=True, sharey="row")
    pooled = tables.select(data.traces, unit=None)
    pooled = pooled.assign(width=pooled["p85"] - pooled["p15"])
    for (line, name), (column, site) in product(enumerate(rows), enumerate(SITES)):
        ax = axes[line, column]
        for experiment, arm in ARMS.items():
            part = tables.select(pooled, experiment=experiment, site=site)
            wide = part.pivot(index="seed", columns="step", values=name).astype(float)
            wide = wide.dropna(axis=1)
            if wide.size:
                wide[:] = movement.smoothed(wide.to_numpy())
            style.plot_curves(ax, wide, arm)
        if name == "grad_norm" and pooled[name].to_numpy(float).max(initial=0) > 0:
            ax.set_yscale("log")
        if line == 0:
            ax.set_title(f"hidden layer {column + 1}")
        if column == 0:
            ax.set_ylabel(rows[name])
    for ax in axes[-1]:
        early_and_late_axis(ax, _last_step(pooled))
    axes[1, 0].legend(loc="upper left")
    return figure


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """The accuracies, and how much less the last layer's percentiles move; markdown."""
    ends = [
        intervals.interval(wide.to_numpy(float)[:, -1] if wide.size else []).percent()
        for wide in paired_curves(data)
    ]
    told = f"At the end {ends[1]} of the test images are right with BN, {ends[0]} without."
    if data.traces.empty:
        return told
    relative, absolute = (
        _cell(movement.movement_ratio(data, BN, BASELINE, LAST, None, relative=of_width))
        for of_width in (True, False)
    )
    return (
        f"{told} With BN the percentiles of the last layer's inputs move {relative} times as much "
        f"relative to the distribution's width, {absolute} times as much in absolute units; the "
        "findings have every layer."
    )


def findings(data: StudyData) -> str:
    """What the numbers say, in words; markdown."""
    a, b = paired_curves(data)
    lines = []
    for arm, wide in ((BASELINE, a), (BN, b)):
        if wide.size:
            last = int(wide.columns[-1])
            reached = steps_to.median_steps(steps_to.by_row(wide, 0.95))
            final = intervals.interval(wide.to_numpy()[:, -1]).percent()
            lines.append(
                f"- **{ARMS[arm].label}**: {final} after "
                f"{last:,} steps (mean of {style.count(len(wide), 'seed')}); steps to 95 %: "
                f"{steps_to.shown(reached, last)} (median)."
            )
    exact = tables.curve(data, BN, statistics="population")
    if exact.size:
        change = 100 * (exact.iloc[:, -1] - tables.curve(data, BN).iloc[:, -1])
        lines.append(
            "- **Moving averages or Algorithm 2**: with Algorithm 2's population statistics the "
            f"accuracy at the end differs by {change.mean():+.2f} points on average, and by "
            f"{change.abs().max():.2f} at most in any seed."
        )
    lines.append(ahead_in_words(a, b))
    if not data.traces.empty:
        lines += ["", *_stability(data), "", *_at_the_end(data)]
    return "\n".join(line for line in lines if line is not None)


def ahead_in_words(a: pd.DataFrame, b: pd.DataFrame) -> str | None:
    """At how many steps BN leads, and where least; None where no interval can be had."""
    found = c.differences(a, b, intervals.LEVEL)
    if not found or any(math.isnan(f.low) for f in found):
        return None
    clear = sum(f.low > 0 for f in found)
    worst = min(range(len(found)), key=lambda i: found[i].low)
    return (
        f"- **Ahead at each step**: the interval of the difference lies above 0 at {clear} of "
        f"{len(found)} evaluated steps; the worst is step {int(a.columns[worst]):,}, with "
        f"{100 * found[worst].estimate:+.2f} points on average. BN leads in every seed at "
        f"{int((b > a).all().sum())} of the {len(found)} steps."
    )


def _cell(found: Interval) -> str:
    return c.shown("_", found.estimate, found.low, found.high)


def _stability(data: StudyData) -> list[str]:
    """How the claim of stability depends on the layer, on the start, and on the measure."""
    kinds = {
        f"{what}{kind}": {"unit": unit, "relative": relative}
        for (what, unit), (kind, relative) in product(
            (("one unit", 0), ("layer", None)), (("", True), (", absolute", False))
        )
    }
    starts = [start for start in STARTS if start < _last_step(data.traces)]
    table = {
        (site, start): [
            movement.movement_ratio(data, BN, BASELINE, site, start=start, **kind)
            for kind in kinds.values()
        ]
        for site, start in product(reversed(SITES), starts)
    }
    judged = [c.verdict(found, below=1.0) for row in table.values() for found in row]
    counts = {word: judged.count(word) for word in ("holds", "does not hold", "undecided")}
    return [
        "**How much less the percentiles move** (with BN / without; below 1, BN is the more "
        "stable), by layer, by the step from which on the measure looks, and by measure: relative "
        "to the distribution's width p85 - p15, as in the claims, or absolute, in the units of the "
        "sigmoid's input, as the eye sees it in the figure. Pooling a layer hides units that move "
        "against each other.",
        "",
        f"| layer | from step | {' | '.join(kinds)} |",
        f"|---|---|{'---|' * len(kinds)}",
        *(
            f"| {site} | {start:,} | {' | '.join(map(_cell, row))} |"
            for (site, start), row in table.items()
        ),
        "",
        f"Of these {len(judged)} comparisons {counts['holds']} say that BN moves less, "
        f"{counts['does not hold']} that it moves more; {counts['undecided']} decide nothing. "
        "So the claim rests on its measure: the pooled inputs of the last layer move "
        f"{_cell(table[SITES[-1], starts[0]][2])} as much with BN relative to their width, and "
        f"{_cell(table[SITES[-1], starts[0]][3])} as much in absolute units.",
    ]


def _at_the_end(data: StudyData) -> list[str]:
    pooled = tables.select(data.traces, unit=None)
    steps = sorted(set(pooled["step"].tolist()))[-movement.WINDOW :]
    ends = pooled.take(np.flatnonzero(np.isin(pooled["step"].to_numpy(), steps)))
    lines = [
        f"**At the end** (medians over seeds and the last {len(steps)} recorded mini-batches), "
        "over each layer's units:",
        "",
        "| arm | layer | p85 - p15 | saturated share | gradient norm |",
        "|---|---|---|---|---|",
    ]
    for (experiment, arm), site in product(ARMS.items(), SITES):
        rows = tables.select(ends, experiment=experiment, site=site)
        if len(rows):
            width, saturated, gradient = (
                np.median(values.to_numpy(float))
                for values in (rows["p85"] - rows["p15"], rows["saturated"], rows["grad_norm"])
            )
            lines.append(
                f"| {arm.label} | {site} | {width:.2f} | {100 * saturated:.1f} % | {gradient:.2g} |"
            )
    return lines
