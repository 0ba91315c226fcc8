"""What every layer of the deepest networks sees, for ``depth``: saturation, and gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bn_repro.analysis import frames, panels, style, tables
from bn_repro.analysis.studies.depth_runs import LARGER, LARGER_STD, USUAL_STD
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

DEEPEST = 20
NONLINEARITIES: tuple[str, ...] = ("sigmoid", "tanh")
COLUMNS: list[tuple[str, Arm]] = list(product(NONLINEARITIES, MNIST_ARMS))
MEASURES = {"saturated": "saturated inputs", "grad_norm": "norm of their gradient"}
RECORDED = 1e-18
"""Gradients of a smaller norm lose digits, or are recorded as 0: their squares are in float32."""
KEPT_STEPS = [int(m * 10**k) for k in range(5) for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]


class Traced(NamedTuple):
    """A network with the traces of its runs: a row for each seed, step and ``layer``."""

    nonlinearity: str
    arm: Arm
    rows: pd.DataFrame


def keep(runs: Runs) -> Runs:
    """The traces that are shown: the final runs' layers at the first step and the last; of the
    deepest networks, at their own best rates, some nine steps a decade besides."""
    rows = frames.select(runs.where(held_out=None).traces, unit=None)
    steps = rows.groupby(tables.KEY)["step"]
    ends = (rows["step"] == steps.transform("min")) | (rows["step"] == steps.transform("max"))
    over_time = _deepest_runs(runs).traces.index
    drawn = rows.index.isin(over_time) & rows["step"].isin(KEPT_STEPS)
    return replace(runs, traces=rows.loc[ends | drawn])


def _deepest_runs(runs: Runs) -> Runs:
    return runs.where(block="best", depth=DEEPEST)


def deepest(runs: Runs) -> list[Traced]:
    """The deepest networks, each at its own best rate, of those that have traces."""
    best = _deepest_runs(runs)
    found = [(n, arm, by_layer(arm.of(best.where(nonlinearity=n)))) for n, arm in COLUMNS]
    return [Traced(*network) for network in found if len(network[2])]


def of_deepest(runs: Runs) -> dict[str, list[dict[str, float]]]:
    """The :func:`numbers` of the deepest networks, by nonlinearity: without BN, and with it."""
    found = deepest(runs)
    return {n: [numbers(t.rows) for t in found if t.nonlinearity == n] for n in NONLINEARITIES}


def of_larger(runs: Runs) -> dict[str, float]:
    """The :func:`numbers` of the deepest tanh network without BN from the larger initial scale."""
    found = MNIST_ARMS[0].of(runs.where(block=LARGER, depth=DEEPEST, nonlinearity="tanh"))
    rows = by_layer(found)
    return numbers(rows) if len(rows) else {}


def by_layer(runs: Runs) -> pd.DataFrame:
    """The traces of one network's runs, whole layers only, with the number of the ``layer``."""
    rows = frames.select(runs.traces, unit=None)
    return rows.assign(layer=rows["site"].str.removeprefix("hidden").astype(int))


def numbers(rows: pd.DataFrame) -> dict[str, float]:
    """Medians over seeds: the gradient's norm in the first layer over that in the last, at the
    first step and at the last, NaN where it is too small to be recorded; ``a_layer``, the factor
    from one layer to the one below at the first step; the saturated shares at the last step, in the
    first layer, the last, the layer with the most, and on average."""
    found = {}
    for name, first in (("at_first", True), ("at_last", False)):
        norms = frames.at_end(rows, "grad_norm", "layer", first=first).to_numpy()
        lowest = int((norms >= RECORDED).all(axis=0).argmax())
        across = float(np.median(norms[:, lowest] / norms[:, -1]))
        found[name] = math.nan if lowest else across
        if first:
            found["a_layer"] = across ** (1 / max(1, norms.shape[1] - 1 - lowest))
    last = frames.at_end(rows, "saturated", "layer", first=False)
    shares = np.median(last.to_numpy(), axis=0)
    ends = {"bottom": shares[0], "top": shares[-1], "most": shares.max()}
    return found | ends | {"mean": float(np.median(last.to_numpy().mean(axis=1)))}


def figures(runs: Runs) -> dict[str, Figure]:
    """Of the deepest networks, where they have traces, ``figure_depth_layers`` (over training) and
    ``figure_depth_ends`` (first step and last)."""
    networks = deepest(runs)
    drawn = {"figure_depth_layers": _maps, "figure_depth_ends": _ends} if networks else {}
    return {name: draw(networks) for name, draw in drawn.items()}


def _maps(networks: Sequence[Traced]) -> Figure:
    """Layer by step, a column for each network: saturation, and gradient; medians over seeds."""
    figure = Figure(figsize=(style.WIDTH, 4.1), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey=True)
    for line, (name, label) in zip(axes, MEASURES.items(), strict=True):
        found = [
            pd.DataFrame(network.rows.groupby(["layer", "step"])[name].median().unstack("step"))
            for network in networks
        ]
        norm, cmap = _scale(name, found)
        for network, table in zip(networks, found, strict=True):
            ax = line[COLUMNS.index(network[:2])]
            panels.layer_map(ax, table, norm=norm, cmap=cmap)
            if name == "saturated":
                words = f"at most {100 * table.to_numpy(float).max():.1f} %"
                ax.text(0.05, 0.95, words, transform=ax.transAxes, va="top", fontsize=7)
        bar = figure.colorbar(ScalarMappable(norm, cmap), ax=list(line), aspect=14, pad=0.01)
        bar.set_label(label)
        bar.minorticks_off()
        if name == "saturated":
            bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        line[0].set_ylabel("hidden layer")
    for ax, (nonlinearity, arm) in zip(axes[0], COLUMNS, strict=True):
        ax.set_title(f"{nonlinearity},\n{arm.label}")
    for ax in axes[1]:
        style.steps_axis(ax)
    style.letters(axes[0])
    return figure


def _scale(name: str, found: Sequence[pd.DataFrame]) -> tuple[Normalize, str]:
    """One scale for all of a row: shares by their root, which shows small ones; gradients by their
    logarithm."""
    known = np.concatenate([table.to_numpy(float).ravel() for table in found])
    known = known[known > 0]
    low, high = (known.min(), known.max()) if len(known) else (0.1, 1.0)
    if name == "saturated":
        return PowerNorm(0.5, 0, high), "Blues"
    return LogNorm(low, high), "viridis"


def _ends(networks: Sequence[Traced]) -> Figure:
    """The layers as profiles: at the first step (open), at the last (full)."""
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for (nonlinearity, arm, rows), first in product(networks, (True, False)):
        for ax, name in zip(axes[:, NONLINEARITIES.index(nonlinearity)], MEASURES, strict=True):
            table = frames.at_end(rows, name, "layer", first=first)
            panels.profile(ax, list(table), table.to_numpy(), arm, before=first)
    for ax, nonlinearity in zip(axes[0], NONLINEARITIES, strict=True):
        style.percent_axis(ax).set_title(nonlinearity)
    for ax in axes[1]:
        ax.set(yscale="log", xlabel="hidden layer")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 5, 10]))
    for ax, label in zip(axes[:, 0], MEASURES.values(), strict=True):
        ax.set_ylabel(label)
    style.letters(axes[0])
    style.legend(figure, [axes[0, 0]], loc="outside upper center", ncols=4)
    return figure


def table(runs: Runs, networks: Sequence[tuple[str, int, Arm]]) -> list[list[str]]:
    """The numbers of each network at its own best rate, from both initial scales, and of the
    deepest at the common one too where that is another; a head first. Empty without traces."""
    rows = [["nonlinearity", "layers", "arm", "scale", "rate", "gradient, a layer"]]
    rows[0].append("first / last layer")
    rows[0] += ["at the last step", "saturated, first layer", "last layer", "most in a layer"]
    for block, (nonlinearity, depth, arm) in product(("best", "common", LARGER), networks):
        found = arm.of(runs.where(block=block, nonlinearity=nonlinearity, depth=depth))
        again = block == "common" and (depth < DEEPEST or len(found.where(block="best").runs))
        if again or found.traces.empty:
            continue
        rate, seen = found.final().levels("optimizer.lr")[0], numbers(by_layer(found))
        scale = LARGER_STD if block == LARGER else USUAL_STD
        cells = [nonlinearity, f"{depth}", arm.label, f"{scale:g}"]
        cells += [f"{rate:g}", f"{seen['a_layer']:.2f}"]
        cells += [_ratio(seen[name]) for name in ("at_first", "at_last")]
        rows.append(cells + [f"{100 * seen[name]:.1f} %" for name in ("bottom", "top", "most")])
    return rows if len(rows) > 1 else []


def _ratio(value: float) -> str:
    return "too small to record" if math.isnan(value) else f"{value:.2g}"
