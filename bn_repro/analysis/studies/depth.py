"""Saturating nonlinearities (sec. 1): how deep a sigmoid or tanh network still trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, panels, style, tables
from bn_repro.analysis.claims import Claim, Quantity
from bn_repro.analysis.studies import depth_layers
from bn_repro.analysis.studies.depth_layers import NONLINEARITIES, Traced
from bn_repro.analysis.study import Study, every
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values

DEPTH, RATE, USUAL_STD = "model.depth", "optimizer.lr", 0.1
BLOCKS = {"best": "at its own best rate", "common": "at rate 0.1"}
DEEPEST = 20
TRAINS = 0.9
"""A network trains where its mean test accuracy at the last step is at least this: fixed before any
run."""
KEPT_STEPS = [int(m * 10**k) for k in range(5) for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]


def keep(runs: Runs) -> pd.DataFrame:
    """The traces that are shown: the final runs' layers, some nine steps a decade and the last."""
    rows = tables.select(runs.where(held_out=None).traces, unit=None)
    last = rows.groupby(tables.KEY)["step"].transform("max")
    return rows.loc[rows["step"].isin(KEPT_STEPS) | (rows["step"] == last)]


def accuracy(runs: Runs) -> Values:
    """Test accuracy at the last step; a diverged run counts as chance."""
    return runs.final("test", diverged=runs.chance)


def by_depth(final: Values, arm: Arm, block: str, nonlinearity: str) -> pd.DataFrame:
    """The accuracies of an arm in a block, a row a seed and a column a depth."""
    rows = arm.of(final).where(block=block, nonlinearity=nonlinearity).rows
    wide = rows.pivot(index="seed", columns=DEPTH, values="value").astype(float)
    return wide.dropna(axis=1, how="all")


def paired(
    runs: Runs, block: str, nonlinearity: str, layers: Sequence[int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Without BN and with it, at these depths, over the seeds that all of these networks have."""
    final = accuracy(runs)
    both = [by_depth(final, arm, block, nonlinearity) for arm in MNIST_ARMS]
    without, with_bn = (wide.reindex(columns=list(layers)).dropna() for wide in both)
    return tables.shared(without, with_bn)


def depths(runs: Runs) -> list[int]:
    """The numbers of hidden layers that the study has, ascending."""
    return sorted({m.varied[DEPTH] for m in runs.members})


# --- claims ---------------------------------------------------------------------------------------


def claims(runs: Runs) -> Iterator[Claim]:
    """What BN makes trainable, how deep, and what depth costs."""
    for (block, where), nonlinearity in product(BLOCKS.items(), NONLINEARITIES):
        name = {"best": "own_best_rate", "common": "common_rate"}[block]
        without, with_bn = (wide[DEEPEST] for wide in paired(runs, block, nonlinearity, [DEEPEST]))
        words = f"Test accuracy at the last step with {DEEPEST} layers, with BN minus without BN"
        parts = intervals.interval(with_bn), intervals.interval(without)
        yield Claim(
            f"{nonlinearity}_{DEEPEST}_layers_{name}_difference",
            f"BN makes {nonlinearity} networks of {DEEPEST} layers trainable that are not without "
            f"it, each {where}.",
            "abstract, 1, 4.2.2",
            c.paired_difference(with_bn, without, words, parts=parts),
            c.Crosses(TRAINS),
        )
    layers = depths(runs)
    for nonlinearity in NONLINEARITIES:
        yield _deeper(nonlinearity, layers, *paired(runs, "best", nonlinearity, layers))
    for nonlinearity in NONLINEARITIES:
        ends = layers[0], DEEPEST
        without, with_bn = (
            wide[ends[0]] - wide[ends[1]] for wide in paired(runs, "best", nonlinearity, ends)
        )
        words = "Test accuracy at the last step with {} layers minus that with {}, without BN minus"
        yield Claim(
            f"{nonlinearity}_lost_with_depth_difference",
            f"With BN a {nonlinearity} network loses less accuracy from {ends[0]} to {ends[1]} "
            "layers, each at its own best rate.",
            "1",
            c.paired_difference(without, with_bn, f"{words.format(*ends)} with BN"),
            c.Above(),
        )


def _deeper(
    nonlinearity: str, layers: Sequence[int], without: pd.DataFrame, with_bn: pd.DataFrame
) -> Claim:
    a, b = without.to_numpy().T, with_bn.to_numpy().T
    both = all(wide.size and wide.iloc[:, -1].mean() >= TRAINS for wide in (without, with_bn))
    return Claim(
        f"{nonlinearity}_greatest_depth_ratio",
        f"BN trains deeper {nonlinearity} networks, each at its own best rate.",
        "1, 4.2.2",
        Quantity(
            "The greatest number of hidden layers, of those tried, whose mean test accuracy at the "
            f"last step is at least {100 * TRAINS:g} % (0 where none is), with BN over without, "
            "resampling seeds (paired over arms and depths)",
            intervals.bootstrap(
                lambda x, y: greatest_depth(layers, y) / greatest_depth(layers, x),
                a,
                b,
                paired=True,
            ),
            "x",
            never=("BN", "the baseline"),
        ),
        c.Provided(
            c.Above(1.0),
            not both,
            "an arm fails at the greatest depth tried",
            "both train at the greatest depth tried",
        ),
    )


def greatest_depth(layers: Sequence[int], top1: np.ndarray) -> np.ndarray:
    """The greatest depth whose mean accuracy is enough, 0 where none is; (depths, ..., seeds)."""
    means = top1.mean(axis=-1)
    shape = (-1,) + (1,) * (means.ndim - 1)
    return np.where(means >= TRAINS, np.asarray(layers, dtype=float).reshape(shape), 0).max(axis=0)


# --- figures --------------------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_depth``; and of the traces of the deepest networks, each at its own best rate,
    ``figure_depth_layers`` (over training) and ``figure_depth_ends`` (first step and last)."""
    traced = _traced(runs)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, nonlinearity in zip(axes, NONLINEARITIES, strict=True):
            draw_accuracy(ax, runs, nonlinearity)
        axes[1].set_ylabel("")
        style.letters(axes)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        layers = {"layers": depth_layers.maps, "ends": depth_layers.ends} if traced else {}
        drawn = {f"figure_depth_{name}": draw(traced) for name, draw in layers.items()}
        return {"figure_depth": figure} | drawn


def _traced(runs: Runs) -> list[Traced]:
    deepest = runs.where(block="best", depth=DEEPEST)
    return [
        Traced(n, arm, rows)
        for n, arm in depth_layers.COLUMNS
        if len(rows := depth_layers.by_layer(arm.of(deepest.where(nonlinearity=n))))
    ]


def draw_accuracy(ax: Axes, runs: Runs, nonlinearity: str) -> Axes:
    """Test accuracy against depth, every seed; below it, each network's own best rate."""
    final, below = accuracy(runs), {"transform": ax.get_xaxis_transform(), "fontsize": 6.5}
    for (line, arm), (block, where) in product(enumerate(MNIST_ARMS), BLOCKS.items()):
        wide = by_depth(final, arm, block, nonlinearity)
        x = (0.965, 1.035)[line] * wide.columns.to_numpy(float)  # side by side
        named = arm.with_(label=f"{arm.label}, each {where}")
        panels.along(ax, list(x), wide.to_numpy().T, named, light=block == "common")
        for depth in wide if block == "best" else ():
            own = arm.of(final).where(block=block, nonlinearity=nonlinearity, depth=depth)
            rate = f"{own.levels(RATE)[0]:g}"
            ax.text(depth, 0.085 - 0.05 * line, rate, color=arm.color, ha="center", **below)
    layers = depths(runs)
    ax.text(layers[0] / 1.55, 0.06, "own best\nrate", va="center", **below)
    ax.set(xscale="log", xlim=(layers[0] / 1.6, layers[-1] * 1.2), xlabel="hidden layers")
    ax.xaxis.set_major_locator(FixedLocator(layers))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    style.error_axis(ax, -0.7, 0.988, "test accuracy at the end")  # below 0: room for the rates
    panels.reference(ax, TRAINS, "it trains")
    panels.reference(ax, runs.chance, "chance")
    ax.set_title(nonlinearity)
    return ax


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    final, layers, traced = accuracy(runs), depths(runs), _traced(runs)
    tried = [m.varied[RATE] for m in runs.planned(block="rates")]
    ends = {min(tried): " (lowest tried)", max(tried): " (highest tried)"} if tried else {}
    networks = list(product(NONLINEARITIES, layers, MNIST_ARMS))
    return {
        "depths": layers,
        "greatest": {
            n: [greatest_depth(layers, wide.to_numpy().T) for wide in both]
            for n in NONLINEARITIES
            if (both := paired(runs, "best", n, layers))[0].size
        },
        "accuracies": [_network(final, ends, *network) for network in networks],
        "scales": _scales(final),
        "deepest": {
            n: [depth_layers.numbers(t.rows) for t in traced if t.nonlinearity == n]
            for n in NONLINEARITIES
        },
        "layers": depth_layers.table(runs, networks) if traced else [],
    }


def _network(
    final: Values, ends: dict[float, str], nonlinearity: str, depth: int, arm: Arm
) -> list[str]:
    """A network's rate and accuracies as a row of a table."""
    own = arm.of(final).where(nonlinearity=nonlinearity, depth=depth)
    cells = [nonlinearity, f"{depth}", arm.label]
    cells += [f"{r:g}{ends.get(r, '')}" for r in own.where(block="best").levels(RATE)] or ["-"]
    for block in BLOCKS:
        top1 = own.where(block=block).by_seed()
        cells += [every(top1), ("**yes**" if top1.mean() >= TRAINS else "no") if len(top1) else "-"]
    return cells


def _scales(final: Values) -> list[list[str]]:
    """The deepest tanh networks from other initial scales, a row each, with the usual one."""
    other = final.where(block="scales")
    usual = final.where(block="best", nonlinearity="tanh", depth=DEEPEST)
    found = {std: other.where(init_std=std) for std in other.levels("init_std")}
    rows = sorted((found | {USUAL_STD: usual}).items()) if found else []
    return [[f"{s:g}", *(every(arm.of(v).by_seed()) for arm in MNIST_ARMS)] for s, v in rows]


STUDY = Study(
    prose="depth.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=(TRAINS,),
    traces=True,
    keep=keep,
)
