"""The paper's Figures 2 and 3, with a target at a share of Inception's best above chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, steps_to, style
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.quantities import NOTHING
from bn_repro.analysis.speed import ITSELF
from bn_repro.analysis.studies import inception, inception_figures
from bn_repro.analysis.studies.inception import INCEPTION, NETWORKS, best, target_at
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

SMALL: dict[str, Any] = {"fontsize": 6.5, "va": "center", "linespacing": 1.35}


def figure2(runs: Runs, share: float = ITSELF) -> Figure:
    """Accuracy against steps, and below it the steps to the target."""
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
    draw_crossings(bottom, runs, share)
    draw_accuracy(top, runs, share).set_xlabel("")
    style.letters([top, bottom])
    return figure


def draw_accuracy(ax: Axes, runs: Runs, share: float) -> Axes:
    """Figure 2: single-crop validation accuracy against steps."""
    target = target_at(runs, share)
    if not math.isnan(target):
        panels.reference(ax, target)
    inception_figures.draw_curves(ax, runs, NETWORKS)
    if not math.isnan(target):
        # A high target has its half of the panel.
        ax.set_ylim(max(0.0, 2 * target - 1.0), min(1.0, ax.get_ylim()[1]))
    ax.set_title("single-crop accuracy")
    return inception_figures.name_ends(ax, runs, NETWORKS)


def draw_crossings(ax: Axes, runs: Runs, share: float) -> Axes:
    """By network, the first step at the target: every seed a point, their median large."""
    target, last = target_at(runs, share), runs.last_step
    for row, arm in enumerate(NETWORKS):
        wide = inception.curves(runs, arm)
        if wide.empty or math.isnan(target):
            continue
        steps = np.sort(steps_to.at(wide, target))
        rows = row + np.linspace(-0.25, 0.25, len(steps)) * (len(steps) > 1)
        never = np.isinf(steps)
        look: dict[str, Any] = {"ls": "none", "color": arm.color, "zorder": 4}
        ax.plot(steps[~never], rows[~never], **look, marker="o", ms=3, alpha=0.6, mew=0)
        if never.any():
            edge = np.full(never.sum(), last)
            ax.plot(edge, rows[never], **look, marker=">", ms=3.5, clip_on=False)
        middle = float(np.median(steps))
        words = f"{(~never).sum()} of {len(steps)} reach it"
        if np.isfinite(middle):
            ax.plot([middle], [row], **look, marker=arm.marker, ms=7, mec="white", mew=0.6)
            some = f" ({never.sum()} of {len(steps)} never)" if never.any() else ""
            words = f"{middle:,.0f}{some}"
        ax.text(1.015, row, words, transform=ax.get_yaxis_transform(), **SMALL)
    _name_rows(ax)
    reached = "" if math.isnan(target) else f", {100 * target:.1f} %"
    ax.set_title(f"first evaluation at or above {words_of(share)}{reached}")
    return style.steps_axis(ax)


def _name_rows(ax: Axes) -> Axes:
    """A row a network, its name in its colour at the left."""
    rows = range(len(NETWORKS))
    ax.set_yticks(list(rows), [arm.label for arm in NETWORKS], fontsize=7.5, fontweight="bold")
    for tick, arm in zip(ax.get_yticklabels(), NETWORKS, strict=True):
        tick.set_color(arm.color)
    ax.set_ylim(len(NETWORKS) - 0.45, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    return ax


def words_of(share: float) -> str:
    """The target in words."""
    best = "Inception's best"
    return best if share == ITSELF else f"{100 * share:g} % of {best} above chance"


def figure3(runs: Runs, share: float = ITSELF) -> Figure:
    """The paper's table as a picture: steps and maxima, here and in the paper."""
    figure = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1.0])
    draw_speed(left, runs, share)
    draw_maximum(right, runs)
    _name_rows(left)
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        for row in range(len(NETWORKS) - 1):
            ax.axhline(row + 0.5, color="#dddddd", lw=0.5)
    style.letters([left, right])
    handles = [
        *left.plot([], [], "o", color=style.INK, ms=6),
        *left.plot([], [], "o", color=style.INK, ms=3, alpha=0.45, mew=0),
        *left.plot([], [], "d", color=style.INK, ms=6, mfc="white", mew=1.0),
    ]
    paper = "the paper" if share == ITSELF else "the paper, (a) to Inception's best itself"
    names = ["here, with its interval from 5 seeds on", "here, every seed", paper]
    figure.legend(handles, names, loc="outside lower center", ncols=3, handletextpad=0.2)
    return figure


def draw_speed(ax: Axes, runs: Runs, share: float) -> Axes:
    """How many times fewer steps than Inception each needs to the target."""
    target, last = target_at(runs, share), runs.last_step
    reference = inception.median_steps(runs, INCEPTION, target)
    limits = 0.4, max(25.0, np.nan_to_num(1.25 * reference / inception.evaluation_grid(runs)))
    for row, arm in enumerate(NETWORKS):
        wide, printed = inception.curves(runs, arm), inception.printed(arm).steps_to_target
        words = ["paper: never" if printed is None else f"paper: {printed / 1e6:g}M steps"]
        values, found = np.array([]), NOTHING
        if wide.size and np.isfinite(reference):
            steps = steps_to.at(wide, target)
            middle = float(np.median(steps))
            words = [f"{steps_to.shown(middle, last)} steps", *words]
            values = reference / steps[np.isfinite(steps)]
            if arm is INCEPTION:
                found = Interval(1.0, math.nan, math.nan, len(steps))
            elif np.isfinite(middle):
                found = inception.race(runs, INCEPTION, arm).fewer(share)
            else:
                bound, start = reference / last, 1.1 * limits[0]
                end = max(bound, 1.15 * start)
                ax.plot([start, end], [row, row], color=arm.color, lw=1.4)
                ax.plot([start], [row], marker="<", color=arm.color)
                ax.text(1.12 * end, row + 0.04, f"not reached: below {bound:.2f}x", **SMALL)
        _dots(ax, row, (values, found, inception.printed_factor(arm)), arm, limits)
        _note(ax, row, words)
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    style.ticks(ax.xaxis, [0.5, 1, 2, 5, 10, 20, 50], "{x:g}x")
    ax.set_xlabel("Inception's steps over the network's (log scale)")
    ax.set_title("speed to " + words_of(share).replace(" above chance", ""))
    return ax


def draw_maximum(ax: Axes, runs: Runs) -> Axes:
    """Maximum accuracy minus Inception's, in percentage points."""
    reference, base = best(runs, INCEPTION), inception.printed(INCEPTION).max_top1
    for row, arm in enumerate(NETWORKS):
        values, printed = best(runs, arm), inception.printed(arm).max_top1
        words, found = [f"paper: {100 * printed:.1f} %"], NOTHING
        if len(values):
            words = [f"{100 * values.mean():.1f} %", *words]
        if len(values) and len(reference):
            found = inception.maximum_gap(runs, arm, INCEPTION).interval
            if arm is INCEPTION:
                found = Interval(0.0, math.nan, math.nan, len(values))
            values = values - reference.mean()
        else:
            values = np.array([])
        _dots(ax, row, (values, found, printed - base), arm)
        _note(ax, row, words)
    ax.axvline(0, color=style.INK, lw=0.7, ls=(0, (1, 2)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:+g}" if x else "0")
    ax.set_xlabel("maximum minus Inception's, percentage points")
    ax.set_title("maximum accuracy")
    return ax


def _dots(
    ax: Axes,
    row: float,
    numbers: tuple[np.ndarray, Interval, float | None],
    arm: Arm,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """One network: the interval and its estimate, every seed below, the paper's number above."""
    values, found, printed = numbers
    if found.high > found.low:
        ax.plot(np.clip([found.low, found.high], *limits), [row, row], color=arm.color, lw=1.4)
    look: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 3, "alpha": 0.45, "mew": 0}
    ax.plot(values, np.full(len(values), row + 0.22), color=arm.color, **look)
    ax.plot([found.estimate], [row], ls="none", marker=arm.marker, ms=6.5, color=arm.color)
    if printed is not None:
        look = {"marker": "d", "ms": 5.5, "mfc": "white", "mec": style.INK, "mew": 0.9}
        ax.plot([printed], [row - 0.24], **look)


def _note(ax: Axes, row: float, words: list[str]) -> None:
    ax.text(1.02, row, "\n".join(words), transform=ax.get_yaxis_transform(), **SMALL)
