"""What each of the seven changes is worth, for ``ablation_421``."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.ablation_421_runs import (
    BASES,
    CHANGES,
    changes_of,
    effects,
    noise,
    number_of_changes,
)
from bn_repro.analysis.studies.inception import BN_X5
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_ablation``: what each change is worth, in points, a panel for each direction."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True, sharex=True)
        for ax, base in zip(axes, BASES, strict=True):
            draw_effects(ax, runs, base)
        style.letters(axes)
        made, number = changes_of(runs), number_of_changes(runs)
        rows = [
            f"all {number}",
            *(f"{1 + CHANGES.index(change)}. {change.name}" for change in made),
        ]
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].set_ylim(len(rows) - 0.5, -0.6)
        return {"figure_ablation": figure}


def draw_effects(ax: Axes, runs: Runs, base: Arm) -> Axes:
    """What each change is worth, in points; shaded, what seeds alone make of it."""
    if found := noise(runs, base):
        limit = 100 * found.limit
        ax.axvspan(-limit, limit, color="#e4e4e4", lw=0)
        ax.text(-limit, 0, "noise of seeds ", fontsize=6.5, ha="right", va="center")
    for row, change in enumerate((None, *changes_of(runs))):
        worth = 100 * effects(runs, change, base).to_numpy()
        if len(worth):
            panels.seeds_of_row(ax, row, worth, base if change else Arm("", style.INK, "-", "D"))
        ax.axhline(row + 0.5, color="#dddddd", lw=0.5 if row else 0.9)
    ax.axvline(0, color=style.INK, lw=0.8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    style.points_axis(ax).set_xlabel("points, with the change minus without")
    ax.set_title("among the others, in BN-x5" if base is BN_X5 else "alone, in BN-Baseline")
    return ax
