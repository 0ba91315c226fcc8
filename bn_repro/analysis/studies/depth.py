"""Saturating nonlinearities (sec. 1): how deep a sigmoid or tanh network still trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import frames, intervals, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.prose import every
from bn_repro.analysis.rules import Above, Crosses, SignTest
from bn_repro.analysis.studies import depth_layers
from bn_repro.analysis.studies.depth_layers import DEEPEST, NONLINEARITIES
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values

DEPTH, RATE, USUAL_STD = "model.depth", "optimizer.lr", 0.1
BLOCKS = {
    "best": ("own_best_rate", "at its own best rate"),
    "common": ("common_rate", "at rate 0.1"),
}
TRAINS = 0.9
"""A network trains if its mean accuracy at the last step is at least this; fixed before any run."""


def by_depth(final: Values, arm: Arm, block: str, nonlinearity: str) -> pd.DataFrame:
    """The accuracies of an arm in a block, a row a seed and a column a depth."""
    rows = arm.of(final).where(block=block, nonlinearity=nonlinearity).rows
    wide = rows.pivot(index="seed", columns=DEPTH, values="value").astype(float)
    return wide.dropna(axis=1, how="all")


def paired(runs: Runs, block: str, nonlinearity: str, layers: list[int]) -> list[pd.DataFrame]:
    """Without BN and with it, at these depths, over the seeds that all of these networks have."""
    final = runs.final("test", diverged=runs.chance)
    both = [by_depth(final, arm, block, nonlinearity) for arm in MNIST_ARMS]
    return [*frames.shared(*(wide.reindex(columns=layers).dropna() for wide in both))]


def depths(runs: Runs) -> list[int]:
    """The numbers of hidden layers that the study has, ascending."""
    return sorted({m.varied[DEPTH] for m in runs.members})


def claims(runs: Runs) -> Iterator[Claim]:
    """What BN makes trainable, how deep, and what depth costs."""
    layers = depths(runs)
    for (block, (name, where)), nonlinearity in product(BLOCKS.items(), NONLINEARITIES):
        without, with_bn = map(q.at_the_end, paired(runs, block, nonlinearity, [DEEPEST]))
        words = f"Test accuracy at the last step with {DEEPEST} layers, with BN minus without BN"
        parts = [intervals.interval(top1.to_numpy(float)) for top1 in (with_bn, without)]
        yield Claim(
            f"{nonlinearity}_{DEEPEST}_layers_{name}_difference",
            f"{nonlinearity.capitalize()} networks of {DEEPEST} layers train with BN and do not "
            f"train without it, each {where}.",
            "abstract, 1, 4.2.2",
            q.difference(with_bn, without, words, parts=parts),
            Crosses(TRAINS),
            hangs_on="the initial scale" if nonlinearity == "tanh" else "",
        )
    for nonlinearity in NONLINEARITIES:
        both = paired(runs, "best", nonlinearity, layers)
        reached = [wide.size and q.at_the_end(wide).mean() >= TRAINS for wide in both]
        yield Claim(
            f"{nonlinearity}_greatest_depth_ratio",
            f"BN trains deeper {nonlinearity} networks, each at its own best rate.",
            "1, 4.2.2",
            _deeper(layers, *both),
            SignTest(1.0),
            gates=[
                Gate(
                    "an arm fails at the greatest depth tried",
                    not all(reached) if all(wide.size for wide in both) else None,
                    "both train at the greatest depth tried",
                )
            ],
        )
    for nonlinearity in NONLINEARITIES:
        ends = [layers[0], DEEPEST]
        lost = [w.T.iloc[0] - w.T.iloc[-1] for w in paired(runs, "best", nonlinearity, ends)]
        words = f"Accuracy at the last step lost from {ends[0]} to {DEEPEST} layers, without BN"
        yield Claim(
            f"{nonlinearity}_lost_with_depth_difference",
            f"With BN a {nonlinearity} network loses less accuracy from {ends[0]} to {DEEPEST} "
            "layers, each at its own best rate.",
            "1",
            q.difference(lost[0], lost[1], f"{words} minus with BN"),
            Above(),
            hangs_on="the initial scale" if nonlinearity == "tanh" else "",
        )


def _deeper(layers: Sequence[int], without: pd.DataFrame, with_bn: pd.DataFrame) -> q.Quantity:
    words = (
        f"The most hidden layers tried with a test accuracy of {100 * TRAINS:g} % or more at the "
        "end (0 for none), with BN over without"
    )
    below, above = (
        pd.Series(greatest_depth(layers, wide.to_numpy(float).T[..., None]), wide.index)
        for wide in (without, with_bn)
    )
    return q.discrete(above, below, words, never=("BN", "the baseline"))


def greatest_depth(layers: Sequence[int], top1: np.ndarray) -> np.ndarray:
    """The greatest depth whose mean accuracy is enough, 0 where none is; (depths, ..., seeds)."""
    return np.max((top1.mean(axis=-1).T >= TRAINS) * np.asarray(layers, dtype=float), axis=-1).T


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_depth``, and those of ``depth_layers``."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, nonlinearity in zip(axes, NONLINEARITIES, strict=True):
            draw_accuracy(ax, runs, nonlinearity)
        axes[1].set_ylabel("")
        style.letters(axes)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return {"figure_depth": figure} | depth_layers.figures(runs)


def draw_accuracy(ax: Axes, runs: Runs, nonlinearity: str) -> Axes:
    """Test accuracy against depth, every seed; below it, each network's own best rate."""
    final, layers = runs.final("test", diverged=runs.chance), depths(runs)
    below: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "fontsize": 6.5}
    for (line, arm), (block, (_, where)) in product(enumerate(MNIST_ARMS), BLOCKS.items()):
        wide = by_depth(final, arm, block, nonlinearity)
        x = (0.965, 1.035)[line] * wide.columns.to_numpy(float)  # side by side
        named = arm.with_(label=f"{arm.label}, each {where}")
        panels.along(ax, list(x), wide.to_numpy().T, named, light=block == "common")
        for depth in wide if block == "best" else ():
            own = arm.of(final).where(block=block, nonlinearity=nonlinearity, depth=depth)
            rate = f"{own.levels(RATE)[0]:g}"
            ax.text(depth, 0.085 - 0.05 * line, rate, color=arm.color, ha="center", **below)
    ax.text(layers[0] / 1.55, 0.06, "own best\nrate", va="center", **below)
    ax.set(xscale="log", xlim=(layers[0] / 1.6, layers[-1] * 1.2), xlabel="hidden layers")
    ax.set_xticks(layers, [f"{depth}" for depth in layers])
    ax.set_xticks([], minor=True)
    style.error_axis(ax, -0.7, 0.988, "test accuracy at the end")  # below 0: room for the rates
    panels.reference(ax, TRAINS, "it trains")
    panels.reference(ax, runs.chance, "chance")
    ax.set_title(nonlinearity)
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    final, layers = runs.final("test", diverged=runs.chance), depths(runs)
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
        "accuracies": [
            [n, f"{d}", arm.label, *_row(arm.of(final).where(nonlinearity=n, depth=d), ends)]
            for n, d, arm in networks
        ],
        "scales": _scales(final),
        "one_scale": _one_scale(final),
        "deepest": depth_layers.of_deepest(runs),
        "layers": depth_layers.table(runs, networks),
    }


def _row(network: Values, ends: dict[float, str]) -> list[str]:
    """A network's own best rate, and its accuracies in each block, with whether it trains."""
    rates = network.where(block="best").levels(RATE)
    cells = [f"{rate:g}{ends.get(rate, '')}" for rate in rates] or ["-"]
    for block in BLOCKS:
        top1 = network.where(block=block).by_seed()
        cells += [every(top1), ("**yes**" if top1.mean() >= TRAINS else "no") if len(top1) else "-"]
    return cells


def _scales(final: Values) -> list[list[str]]:
    """The deepest tanh networks from other initial scales, a row each, with the usual one."""
    other = final.where(block="scales")
    usual = final.where(block="best", nonlinearity="tanh", depth=DEEPEST)
    found = {std: other.where(init_std=std) for std in other.levels("init_std")}
    rows = sorted((found | {USUAL_STD: usual}).items()) if found else []
    return [[f"{s:g}", *(every(arm.of(v).by_seed()) for arm in MNIST_ARMS)] for s, v in rows]


def _one_scale(final: Values) -> bool:
    """Whether the deepest tanh network without BN trains at the usual scale, and at no other."""
    baseline = MNIST_ARMS[0].of(final)
    usual = baseline.where(block="best", nonlinearity="tanh", depth=DEEPEST).array
    other = baseline.where(block="scales")
    means = [other.where(init_std=std).array.mean() for std in other.levels("init_std")]
    return bool(means) and max(means) < TRAINS <= np.mean(usual)


STUDY = Study(
    prose="depth.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=(TRAINS,),
    traces=True,
    keep=depth_layers.keep,
)
