"""A study that has no module of its own: its curves and its table; it claims nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import intervals, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.tables import StudyData
from bn_repro.records import paths

TITLE = ""
WHAT = (
    "Every arm of the study: an experiment with what was varied in it. Accuracy is by single crop "
    "and moving averages, on held-out images where there are any, else on the test set."
)
DEVIATIONS = "- The study makes no claim of the paper's; its arms are listed above."
IN_SHORT = "No claim of the paper is judged."
CAPTIONS = {
    "figure_curves": "Left: accuracy against training steps, every seed faint, the median bold. "
    "Right: the final accuracy of every seed, and the mean."
}
TRACES = False

AT_MOST = 8
"""So many arms are told apart in one picture; of more, those with the best final accuracy."""
BASELINE: tuple[str, Any, str] = ("#e6912e", (0, (4.5, 1.4)), "s")
LOOKS = [
    ("#0b4a8f", "-", "o"),
    BASELINE,
    ("#4a9a5c", (0, (1.2, 1.1)), "v"),
    ("#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D"),
    ("#56a3dc", "-", "^"),
    ("#7a6a53", (0, (4.5, 1.4)), "P"),
    ("#b8a000", (0, (1.2, 1.1)), "X"),
    ("#555555", (0, (6, 1.3, 1.2, 1.3)), "*"),
]
WITHOUT_BN = ("mnist/baseline", "imagenet/inception")


def targets(data: StudyData) -> tuple[float, ...]:
    """None: what accuracy matters is the study's own affair."""
    return ()


def claims(data: StudyData) -> list[Claim]:
    """None: a module of the study's own makes them (CONTRIBUTING.md)."""
    return []


def arms(data: StudyData) -> dict[str, StudyData]:
    """The runs of each arm by its name: ``mnist/bn, model.norm=none``."""
    keys = [
        str(name)
        for name in data.runs
        if name not in tables.RUN_COLUMNS
        and not str(name).startswith("steps_to_")
        and len({str(v) for v in data.runs[name]}) > 1
    ]
    found: dict[str, StudyData] = {}
    for id in dict.fromkeys(data.runs["id"].tolist()):
        of_id = tables.select(data.runs, id=id)
        for experiment in dict.fromkeys(of_id["experiment"].tolist()):
            runs = tables.select(of_id, experiment=experiment)
            told = [f"{key}={_plain(runs[key].tolist()[0])}" for key in keys]
            name = ", ".join([experiment, *told])
            found[name if name not in found else f"{name} ({id})"] = tables.subset(data, runs)
    return found


def _plain(value: Any) -> Any:
    return "-" if value is None or value != value else value


def curve(arm: StudyData) -> pd.DataFrame:
    """An arm's accuracy, seed by step."""
    split = paths.monitored_split(set(arm.curves["split"]))
    return tables.curve(arm, arm.runs["experiment"].tolist()[0], split=split)


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_curves``."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        drawn = shown(data)
        draw_curves(left, drawn)
        draw_finals(right, drawn)
        handles, labels = left.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=6.5)
        return {"figure_curves": figure}


def shown(data: StudyData) -> dict[str, StudyData]:
    """The arms to draw, in the study's order."""
    found = arms(data)
    final = {name: np.nan_to_num(arm.runs["final_top1"].mean()) for name, arm in found.items()}
    best = sorted(found, key=lambda name: -final[name])[:AT_MOST]
    return {name: arm for name, arm in found.items() if name in best}


def looks(drawn: dict[str, StudyData]) -> dict[str, style.Arm]:
    """How each arm is drawn, up to ``AT_MOST``; the first without BN as elsewhere."""
    names = list(drawn)[:AT_MOST]
    without = next((name for name in names if _without_bn(drawn[name])), None)
    others = iter(look for look in LOOKS if without is None or look != BASELINE)
    return {n: style.Arm(n, *(BASELINE if n == without else next(others))) for n in names}


def _without_bn(arm: StudyData) -> bool:
    first = arm.runs.iloc[0].to_dict()
    norm = _plain(first.get("model.norm"))
    return norm == "none" or (norm == "-" and first["experiment"] in WITHOUT_BN)


def draw_curves(ax: Axes, drawn: dict[str, StudyData]) -> Axes:
    """Accuracy against training steps."""
    for name, look in looks(drawn).items():
        style.plot_curves(ax, curve(drawn[name]), look)
    style.steps_axis(ax)
    ax.set_ylabel("accuracy")
    ax.set_title("accuracy against training steps")
    return ax


def draw_finals(ax: Axes, drawn: dict[str, StudyData]) -> Axes:
    """The final accuracy of every seed, and the mean as a line."""
    for place, (name, look) in enumerate(looks(drawn).items()):
        final = drawn[name].runs["final_top1"].dropna().to_numpy(float)
        spread = place + np.linspace(-0.15, 0.15, len(final)) * (len(final) > 1)
        ax.plot(spread, final, ls="none", marker=look.marker, color=look.color, alpha=0.7)
        if len(final):
            ax.hlines(final.mean(), place - 0.3, place + 0.3, color=look.color)
    ax.set_xticks([])
    ax.set_ylabel("final accuracy")
    ax.set_title("every seed, and the mean")
    return ax


def findings(data: StudyData) -> str:
    """The arms by their final accuracy; markdown."""
    found = {
        name: intervals.interval(arm.runs["final_top1"].dropna().to_numpy(float))
        for name, arm in arms(data).items()
    }
    order = sorted(found, key=lambda name: -np.nan_to_num(found[name].estimate))
    lines = [
        f"{rank}. `{name}`: {found[name].percent()} ({style.count(found[name].n, 'seed')})"
        for rank, name in enumerate(order, start=1)
    ]
    if len(found) > AT_MOST:
        lines += ["", f"The figure shows the {AT_MOST} best of {len(found)} arms."]
    return "\n".join(lines)
