"""Figure 4: every kind of network by one crop and by 144, and the ensembles."""

from __future__ import annotations

import textwrap
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import ensembles, style
from bn_repro.analysis.studies.fig4_runs import CROPS, ERRORS, MULTI, PLAIN, SIX, settings, together
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure4``: each kind of network by one crop and by 144; the ensembles."""
    if not settings(runs):
        return {}
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.8), layout="constrained")
        axes = figure.subplots(1, 3, width_ratios=[1.1, 1, 1])
        draw_networks(axes[0], runs)
        for ax, metric in zip(axes[1:], ERRORS, strict=True):
            draw_sizes(ax, runs, metric)
        style.letters(axes)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return {"figure4": figure}


def _look(arm: Arm, crops: int) -> dict[str, Any]:
    """Filled and solid by 144 crops, open and dashed by one."""
    how = {"ls": "-"} if crops == MULTI else {"ls": (0, (4, 1.5)), "mfc": "white"}
    return {"color": arm.color, "marker": arm.marker, "mec": arm.color} | how


def draw_networks(ax: Axes, runs: Runs) -> Axes:
    """Top-1 error of each kind of network and of the ensembles: the seeds (small), their mean, and
    a line from one crop to 144."""
    rows = [
        (words, arm, {k: [own[k]["top1"] for own in seeds if k in own] for k in CROPS})
        for words, arm, seeds in settings(runs)
    ]
    alone = len(rows)
    for arm in (PLAIN, SIX):
        whole = {k: [found.all for found in together(runs, arm, k)] for k in CROPS}
        if any(row["models"] > 1 for found in whole.values() for row in found):
            errors = {k: [row["top1"] for row in found] for k, found in whole.items()}
            rows.append((f"ensemble of {arm.label}", arm, errors))
    for place, (_, arm, by_crops) in enumerate(rows):
        known = {crops: errors for crops, errors in by_crops.items() if errors}
        means = [np.mean(errors) for errors in known.values()]
        ax.plot(means, [place] * len(means), color=style.INK, lw=0.7, zorder=1)
        for (crops, errors), mean in zip(known.items(), means, strict=True):
            if len(errors) > 1:
                dots = _look(arm, crops) | {"ls": "none", "ms": 2, "mew": 0.6, "alpha": 0.6}
                ax.plot(errors, [place] * len(errors), **dots)
            ax.plot([mean], [place], ms=4.5, **_look(arm, crops))
    ax.set_yticks(range(len(rows)), [textwrap.fill(name, 26) for name, *_ in rows], fontsize=6.5)
    ax.axhspan(alone - 0.5, len(rows) - 0.5, color="#eeeeee", lw=0, zorder=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    ax.set_title("top-1 error of each")
    return ax


def draw_sizes(ax: Axes, runs: Runs, metric: str) -> Axes:
    """The error of every ensemble against its number of networks, and their mean as a line."""
    for arm, crops in product((SIX, PLAIN), CROPS):
        found, look = together(runs, arm, crops), _look(arm, crops)
        rows = [row for each in found for row in each.rows]
        errors = [row[metric] for row in rows]
        if np.isfinite(errors).any():
            dots = look | {"ls": "none", "ms": 2, "mew": 0.6, "alpha": 0.45}
            ax.plot([row["models"] for row in rows], errors, **dots)
            look["label"] = f"{arm.label}, {CROPS[crops]}"
            sizes = ensembles.by_size(rows, metric)
            ax.plot(list(sizes), [np.mean(each) for each in sizes.values()], **look)
    if not ax.lines:
        ax.text(0.5, 0.5, "not evaluated", ha="center", va="center", transform=ax.transAxes)
    ax.set_xticks(range(1, 1 + len(SIX.keys["block"])))
    style.percent_axis(ax).set_xlabel("networks averaged")
    ax.set_title(f"top-{metric[3:]} error")
    return ax
