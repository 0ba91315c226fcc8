"""A study that has no module of its own, or runs of no study: curves and a table; no claims."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import intervals, panels, style
from bn_repro.analysis.frames import plain
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs, varied_keys

AT_MOST = 8
"""A figure shows at most so many arms: those with the best final accuracy."""
WITHOUT_BN: tuple[str, Any, str] = ("#e6912e", (0, (4.5, 1.4)), "s")
LOOKS = [
    ("#0b4a8f", "-", "o"),
    WITHOUT_BN,
    ("#4a9a5c", (0, (1.2, 1.1)), "v"),
    ("#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D"),
    ("#56a3dc", "-", "^"),
    ("#7a6a53", (0, (4.5, 1.4)), "P"),
    ("#b8a000", (0, (1.2, 1.1)), "X"),
    ("#555555", (0, (6, 1.3, 1.2, 1.3)), "*"),
]
BASELINES = ("mnist/baseline", "imagenet/inception")


def arms(runs: Runs) -> list[Arm]:
    """Each experiment with what was varied in it, named ``mnist/bn, model.norm=none``."""
    varied = varied_keys(runs)
    kinds = runs.runs.drop_duplicates(["experiment", "id"]).to_dict("records")
    without = next((k for k in kinds[:AT_MOST] if _without_bn(k)), None)
    others = itertools.cycle(look for look in LOOKS if without is None or look != WITHOUT_BN)
    found, names = [], set()
    for kind in kinds:
        words = [f"{key}={'-' if plain(kind[key]) is None else kind[key]}" for key in varied]
        name = ", ".join([kind["experiment"], *words])
        name = name if name not in names else f"{name} ({kind['id']})"
        names.add(name)
        look = WITHOUT_BN if kind is without else next(others)
        color, line, marker = look
        keys = {"experiment": kind["experiment"], "id": kind["id"]}
        found.append(Arm(name, color, line, marker, keys))
    return found


def _without_bn(run: dict[str, Any]) -> bool:
    norm = plain(run.get("model.norm"))
    return norm == "none" or (norm is None and run["experiment"] in BASELINES)


def drawn(runs: Runs) -> list[Arm]:
    """The arms to draw, in the runs' order: those with the best final accuracy."""
    found = arms(runs)
    final = [np.nan_to_num(np.mean(arm.of(runs.final_or_chance()).array)) for arm in found]
    best = sorted(range(len(found)), key=lambda i: -final[i])[:AT_MOST]
    return [found[i] for i in sorted(best)]


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_curves``."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_curves(left, runs)
        draw_finals(right, runs)
        style.letters([left, right])
        style.legend(figure, [left], loc="outside lower center", ncols=2, fontsize=6.5)
        return {"figure_curves": figure}


def draw_curves(ax: Axes, runs: Runs) -> Axes:
    """Accuracy against training steps."""
    for arm in drawn(runs):
        panels.curves(ax, arm.of(runs).curve(), arm)
    style.steps_axis(style.percent_axis(ax))
    ax.set_title("accuracy")
    return ax


def draw_finals(ax: Axes, runs: Runs) -> Axes:
    """The final accuracy of every seed, and the mean as a line."""
    for place, arm in enumerate(drawn(runs)):
        final = arm.of(runs.final_or_chance()).array
        final = final[np.isfinite(final)]
        spread = place + np.linspace(-0.15, 0.15, len(final)) * (len(final) > 1)
        ax.plot(spread, final, ls="none", marker=arm.marker, color=arm.color, alpha=0.7)
        if len(final):
            ax.hlines(final.mean(), place - 0.3, place + 0.3, color=arm.color)
    ax.set_xticks([])
    style.percent_axis(ax).set_title("final accuracy: every seed, and the mean")
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """The arms by their final accuracy."""
    found = []
    for arm in arms(runs):
        final = arm.of(runs.final_or_chance()).array
        found.append((arm.label, intervals.interval(final[np.isfinite(final)])))
    return {
        "ranked": sorted(found, key=lambda one: -np.nan_to_num(one[1].estimate)),
        "at_most": AT_MOST,
    }


STUDY = Study(prose="default.md.j2", figures=figures, values=values)
