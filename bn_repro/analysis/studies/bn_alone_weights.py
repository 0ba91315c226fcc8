"""Of ``bn_alone``: how large the steps are that training takes, against the weights.

Of the blocks ``weights``: by layer, the norms of its weights and of their gradient, of a run's
traced steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import style
from bn_repro.analysis.studies.bn_alone_runs import LOWEST, OWN, Setting
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

PERCENTILES = (15, 50, 85)
SHOWN = (
    Setting("He", "four", LOWEST),
    Setting("He", "four", 0.08),
    Setting("He", "ten", LOWEST),
    Setting("Xavier", "ten", LOWEST),
)


def rows_of(runs: Runs, arm: Arm) -> pd.DataFrame:
    """The norms by step, site and seed, with what follows from them.

    ``effective`` is the gradient's norm over the weights'; times the rate it is the step that SGD
    takes, relative to the weights (without momentum). ``grown`` is the weights' norm over that at
    the first traced step.
    """
    rows = arm.of(runs).probes
    if rows.empty:
        return rows.assign(effective=[], grown=[])
    first = rows.sort_values("step").groupby(["site", "seed"])["norm"].transform("first")
    return rows.assign(effective=rows["gradient"] / rows["norm"], grown=rows["norm"] / first)


def over_layers(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Percentiles over layers and seeds (columns) by step (rows)."""
    if rows.empty:
        return pd.DataFrame(columns=list(PERCENTILES))
    found = rows.groupby("step")[name].quantile([p / 100 for p in PERCENTILES])  # pyright: ignore
    return pd.DataFrame(found.unstack()).set_axis(list(PERCENTILES), axis=1)


def figure_weights(runs: Runs) -> Figure:
    """Steps against weights, and the growth of the weights, a column a setting."""
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    axes = np.asarray(figure.subplots(2, len(SHOWN), sharex=True, sharey="row"))
    for column, setting in zip(axes.T, SHOWN, strict=True):
        for arm in (setting.inception, setting.bn):
            rows = rows_of(runs, arm)
            rows = rows.assign(effective=setting.rate * rows["effective"])
            for ax, name in zip(column, ("effective", "grown"), strict=True):
                draw_percentiles(ax, over_layers(rows, name), arm)
        column[0].set_title(f"{setting.start}, {setting.depth},\nrate {setting.rate:g}")
        column[0].set_yscale("log")
        style.steps_axis(column[1])
    axes[0, 0].set_ylabel("rate x gradient / weights")
    axes[1, 0].set_ylabel("weights over their first")
    style.letters(axes[0])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_percentiles(ax: Axes, wide: pd.DataFrame, arm: Arm) -> Axes:
    """The median over layers and seeds, and the band from the 15th to the 85th percentile."""
    low, middle, high = (wide[p].to_numpy(float) for p in PERCENTILES)
    steps = wide.index.to_numpy(float)
    ax.fill_between(steps, low, high, color=arm.color, alpha=0.2, lw=0)
    ax.plot(steps, middle, color=arm.color, ls=arm.linestyle, label=arm.label)
    return ax


def steps_taken(runs: Runs) -> list[dict[str, Any]]:
    """By setting: the median over layers and seeds at the first traced step and at the last.

    Of the step relative to the weights, at the rate before its decay, without BN and with it.
    """
    found = []
    for depth, block in (("four", "He"), ("ten", "He"), ("ten", "Xavier")):
        for rate in (LOWEST, OWN, 0.08):
            setting = Setting(block, depth, rate)
            both = [
                over_layers(rows_of(runs, arm), "effective")[50].to_numpy(float)
                for arm in (setting.inception, setting.bn)
            ]
            if all(len(values) for values in both):
                ends = [[rate * values[0], rate * values[-1]] for values in both]
                found.append({"setting": str(setting), "ends": ends})
    return found
