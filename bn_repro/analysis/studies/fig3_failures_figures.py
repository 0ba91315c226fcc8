"""Accuracy and training loss of the networks that section 4.2.2 reports to fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import movement, panels, style
from bn_repro.analysis.prose import listed
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.fig3_failures import FAILURES
from bn_repro.analysis.studies.inception import BN_SIGMOID, INCEPTION
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def figure(
    runs: Runs, arms: Sequence[Arm] = FAILURES, beside: Sequence[Arm] = (INCEPTION, BN_SIGMOID)
) -> Figure:
    """Accuracy and training loss of the failures, side by side; ``beside`` them thin lines."""
    figure = Figure(figsize=(style.WIDTH, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    style.letters([draw_accuracy(left, runs, arms, beside), draw_loss(right, runs, arms, beside)])
    style.legend(figure, [left], loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure


def draw_accuracy(ax: Axes, runs: Runs, arms: Sequence[Arm], beside: Sequence[Arm]) -> Axes:
    """Validation accuracy of the networks said to fail, and of those beside them, thin."""
    for arm in (*beside, *arms):
        _draw(ax, inception.curves(runs, arm), arm, arms)
    ax.set_yscale("log")
    style.ticks(ax.yaxis, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    if np.isfinite(runs.chance):
        panels.reference(ax, runs.chance)
        ax.set_ylim(0.8 * runs.chance, None)
        ax.annotate("chance", (0.01, 0.02), xycoords="axes fraction", fontsize=6.5)
    style.steps_axis(style.percent_axis(ax)).set_xlim(0, runs.last_step)
    ax.set_ylabel("accuracy (log scale)")
    ax.set_title("single-crop accuracy")
    return ax


def draw_loss(ax: Axes, runs: Runs, arms: Sequence[Arm], beside: Sequence[Arm]) -> Axes:
    """Training loss, smoothed; a vertical line where a run's loss ceased to be finite."""
    lost = []
    for arm in (*beside, *arms):
        mine = arm.of(runs)
        wide = mine.curve(split="train", statistics="batch", metric="loss")
        wide = wide.dropna(axis=1, how="all").dropna()  # a run that is lost has its line alone
        if wide.size:
            wide[:] = movement.smoothed(wide.to_numpy(float))
        _draw(ax, wide, arm, arms)
        steps = np.sort(mine.runs.loc[mine.runs["state"] == "diverged", "step"].to_numpy(float))
        for step in steps:
            ax.axvline(step, color=arm.color, lw=1.2, ls=arm.linestyle, label="_not_finite")
        if len(steps):
            numbers = listed(f"{step:,.0f}" for step in steps)
            words = f"{arm.label}:\nloss not finite\nat step{'s' * (len(steps) > 1)} {numbers}"
            lost.append((steps[-1], words, arm.color))
    ax.set_xscale("log")
    ax.set_xlim(1, max(runs.last_step, 2))
    for place, (step, words, color) in enumerate(lost):
        where = {"transform": ax.get_xaxis_transform(), "va": "bottom"}
        ax.text(1.2 * step, 0.03 + 0.25 * place, words, fontsize=7, color=color, **where)
    style.steps_axis(ax).set_xlabel("training steps (log scale)")
    ax.set_ylabel("cross-entropy")
    ax.set_title("loss of the training mini-batches")
    return ax


def _draw(ax: Axes, wide: Any, arm: Arm, arms: Sequence[Arm]) -> None:
    """One of ``arms`` with its seeds; what stands beside them as a thin line."""
    if arm in arms:
        panels.curves(ax, wide, arm, markers=6)
        every = max(1, wide.shape[1] // 6)  # markers shifted, since those at chance coincide
        for line in ax.lines[-1:] if wide.size else ():
            line.set_markevery((arms.index(arm) * every // 4, every))
    elif wide.size:
        look = {"color": arm.color, "ls": arm.linestyle, "lw": 1.0, "label": arm.label}
        ax.plot(wide.columns, wide.median(), **look)
