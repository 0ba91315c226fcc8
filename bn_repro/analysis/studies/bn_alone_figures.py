"""The figures of ``bn_alone``: where BN alone is faster, and accuracy at telling settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from bn_repro.analysis import panels, style
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.speed import HEADLINE
from bn_repro.analysis.studies import converged, inception_figures
from bn_repro.analysis.studies.bn_alone_runs import (
    FIVE_TIMES,
    LATE,
    LOWEST,
    MAPS,
    OWN,
    WEIGHTS,
    Cell,
    Outcome,
    Setting,
    cell,
)
from bn_repro.analysis.studies.bn_alone_weights import figure_weights
from bn_repro.analysis.tables import Runs

COLORS: dict[Outcome, str] = {
    "BN alone is faster": "#0b4a8f",
    "Inception is faster": "#e6912e",
    "not decided": "#dfe6ee",
    "Inception fails": "#9a9a9a",
    "not run": "#ffffff",
}
HATCHES: dict[Outcome, str] = {"not run": "////"}
TELLING = (
    Setting("He", "four", LOWEST),
    Setting("He", "four", OWN),
    Setting("He", "four", 0.08),
    Setting("He", "ten", LOWEST),
    Setting("Xavier", "ten", LOWEST),
    Setting(LATE, "four", FIVE_TIMES, 50),
)
"""The settings whose curves are drawn, as far as both networks have runs."""


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_map``: where BN alone is faster; ``figure_curves``: accuracy at telling settings;
    ``figure_weights``: steps against weights."""
    runs = converged.on_the_same_images(runs)
    with style.context():
        return {
            "figure_map": figure_map(runs),
            "figure_curves": figure_curves(runs),
            "figure_weights": figure_weights(runs),
        }


def figure_map(runs: Runs) -> Figure:
    """A panel a depth, and one of late gradients: a row the initial weights, a column a rate."""
    figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[3, 3, 2])
    maps = {title: [cell(runs, setting) for setting in some] for title, some in MAPS.items()}
    for ax, (title, cells) in zip(axes, maps.items(), strict=True):
        draw_map(ax, cells).set_title(title)
    axes[1].set_yticklabels([])
    style.letters(axes)
    drawn = {found.outcome for cells in maps.values() for found in cells}
    marks = [
        Patch(facecolor=color, edgecolor="#777777", hatch=HATCHES.get(name), lw=0.5, label=name)
        for name, color in COLORS.items()
        if name in drawn
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure


def draw_map(ax: Axes, cells: Sequence[Cell]) -> Axes:
    """A box a setting: times fewer steps, and the difference of the maxima in points."""
    rows = list(dict.fromkeys(one.setting.start for one in cells))
    rates = sorted({one.setting.rate for one in cells})
    text: dict[str, Any] = {"ha": "center", "va": "center", "linespacing": 1.35}
    for one in cells:
        x, y = rates.index(one.setting.rate), rows.index(one.setting.start)
        color, hatch = COLORS[one.outcome], HATCHES.get(one.outcome)
        look: dict[str, Any] = {"facecolor": color, "hatch": hatch, "edgecolor": "#bbbbbb"}
        ax.add_patch(Rectangle((x - 0.46, y - 0.45), 0.92, 0.9, lw=0.5, **look))
        ink = "white" if np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.5 else style.INK
        ax.text(x, y, _in_a_box(one), color=ink, fontsize=6.3, **text)
    ax.set_xlim(-0.5, len(rates) - 0.5)
    ax.set_ylim(len(WEIGHTS) - 0.5, -0.5)  # boxes of all panels have one height
    ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel("learning rate")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _in_a_box(one: Cell) -> str:
    """Times fewer steps, the gap in points, and how many seeds where there are few."""
    few = f"\n{one.seeds} seeds" if one.seeds < ENOUGH_SEEDS else ""
    if one.outcome == "not run":
        return ""
    if one.outcome == "Inception fails":
        bad, n = sum(one.bn_failed), len(one.bn_failed)
        return ("BN trains" if not bad else f"BN fails\n{bad} of {n}") + few
    factor = one.race.fewer().estimate
    shown = {0.0: "not by half", math.inf: "only BN"}.get(factor, f"{factor:.1f}x")
    return f"{shown}\n{100 * one.gap.interval.estimate:+.1f}{few}"


def figure_curves(runs: Runs) -> Figure:
    """Accuracy against steps, a panel a setting; dotted: the target."""
    cells = [found for setting in TELLING if (found := cell(runs, setting)).seeds]
    rows = max(1, math.ceil(len(cells) / 2))
    figure = Figure(figsize=(style.WIDTH, 0.4 + 2.2 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, 2, sharex=True, sharey=True)).ravel()
    for ax, found in zip(axes, cells, strict=False):
        arms = found.setting.inception, found.setting.bn
        inception_figures.draw_curves(ax, runs, arms).set_title(str(found.setting))
        panels.reference(ax, runs.chance)
        if found.trains:
            target = found.race.target()
            words = f"{100 * HEADLINE:g} % of Inception's best: {100 * target:.1f} %"
            panels.reference(ax, target)
            where = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "top"}
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
            ax.text(0.99, target - 0.02, words, fontsize=6.5, bbox=box, **where)
        ax.set_ylabel("accuracy")
        ax.label_outer()
    for ax in axes[len(cells) :]:
        ax.set_axis_off()
    style.letters(axes[: len(cells)])
    if cells:
        axes[0].legend(loc="center right")
    return figure
