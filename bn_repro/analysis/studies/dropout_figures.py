"""The figure of ``dropout``: test accuracy and gap against dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.dropout_runs import TRAINS, Both, read
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_dropout``: test accuracy, and its gap to training accuracy, against dropout."""
    found = read(runs)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
        axes = figure.subplots(
            2, len(found), sharex=True, sharey="row", squeeze=False, height_ratios=[1.5, 1]
        )
        for (top, bottom), both in zip(axes.T, found, strict=True):
            draw(top, both, "test").set_title(both.images)
            draw(bottom, both, "gap").set_xlabel("dropout after each hidden layer")
        _accuracy_axis(axes[0])
        for both, ax in zip(found, axes[0], strict=True):
            _mark_lost(ax, both)
        axes[1, 0].set_ylabel("training minus test, points")
        axes[1, 0].set_ylim(bottom=min(0, axes[1, 0].get_ylim()[0]))
        style.letters(axes.flat)
        style.legend(figure, [axes[0, 0]], loc="outside lower center", ncols=3)
        return {"figure_dropout": figure}


def draw(ax: Axes, both: Both, kind: str) -> Axes:
    """``test`` or ``gap`` (in points) against dropout: every seed, the mean, the chosen one ringed.

    A dropout of which a final run is lost has no mean.
    """
    for part in both.parts:
        color, dropouts = part.arm.color, both.dropouts
        trained = pd.DataFrame({d: part.of("test", d) for d in dropouts}) >= TRAINS
        wide = pd.DataFrame({d: part.of(kind, d) for d in dropouts}, dtype=float).where(trained)
        wide = 100 * wide if kind == "gap" else wide
        means = wide.mean().where(np.array([part.lost(d)[0] == 0 for d in dropouts]))
        look: dict[str, Any] = {"marker": part.arm.marker, "ls": part.arm.linestyle, "color": color}
        look |= {"ms": 4.2, "mec": "white", "mew": 0.5, "label": f"{part.arm.label}, mean"}
        ax.plot(dropouts, wide.to_numpy().T, color=color, lw=0.6, alpha=0.35)
        ax.plot(dropouts, means.to_numpy(), **look)
        ring: dict[str, Any] = panels.RING | {"mec": color}
        if (best := part.best()) is not None and best in means:
            ax.plot(best, means[best], **ring)
    ax.set_xticks(both.dropouts, [f"{dropout:g}" for dropout in both.dropouts])
    return ax


def _accuracy_axis(axes: Sequence[Axes]) -> None:
    """From a little below the lowest run to the tick above the highest."""
    lines = [np.asarray(line.get_ydata(), float) for ax in axes for line in ax.lines]
    known = np.concatenate([*lines, []])
    known = known[np.isfinite(known)]
    if len(known):
        low = 1 - 1.15 * (1 - known.min())
        top = next((tick for tick in style.ERROR_TICKS if tick > known.max()), known.max())
        for ax in axes:
            style.error_axis(ax, low, top)
        for ax in axes[1:]:
            ax.set_ylabel("")


def _mark_lost(ax: Axes, both: Both) -> None:
    """At the lower edge: how many final runs of a setting are lost."""
    for part in both.parts:
        for dropout in both.dropouts:
            lost, n = part.lost(dropout)
            if lost:
                low, look = ax.get_ylim()[0], {"color": part.arm.color, "clip_on": False}
                ax.plot([dropout], [low], marker="v", ls="none", ms=6, **look)
                words = f"{lost} of {n} runs\nbelow {100 * TRAINS:g} %"
                place: dict[str, Any] = {"xytext": (6, 4), "textcoords": "offset points"}
                ax.annotate(words, (dropout, low), **place, fontsize=6.5)
