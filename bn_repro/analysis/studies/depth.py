"""Saturating nonlinearities (sec. 1): how deep a sigmoid or tanh network still trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.prose import percent
from bn_repro.analysis.rules import Above, Crosses, SignTest
from bn_repro.analysis.studies import depth_layers
from bn_repro.analysis.studies.depth_figures import figures
from bn_repro.analysis.studies.depth_layers import DEEPEST, NONLINEARITIES
from bn_repro.analysis.studies.depth_runs import (
    BLOCKS,
    LARGER,
    LARGER_STD,
    RATE,
    TRAINS,
    USUAL_STD,
    answers,
    depths,
    greatest_depth,
    paired,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Runs, Values


def claims(runs: Runs) -> Iterator[Claim]:
    """What BN makes trainable, how deep, and what depth costs."""
    layers = depths(runs)
    for (block, (name, where)), nonlinearity in product(BLOCKS.items(), NONLINEARITIES):
        without, with_bn = map(q.at_the_end, paired(runs, block, nonlinearity, [DEEPEST]))
        words = f"Test accuracy at the last step with {DEEPEST} layers, with BN minus without BN"
        images = answers(runs, block, nonlinearity, DEEPEST)
        parts = [intervals.interval(top1.to_numpy(float)) for top1 in (with_bn, without)]
        yield Claim(
            f"{nonlinearity}_{DEEPEST}_layers_{name}_difference",
            f"{nonlinearity.capitalize()} networks of {DEEPEST} layers train with BN and do not "
            f"train without it, each {where}.",
            "abstract, 1, 4.2.2",
            q.difference(with_bn, without, words, parts=parts, images=(images[1], images[0])),
            Crosses(TRAINS),
            depends_on="the initial scale" if nonlinearity == "tanh" and block != LARGER else "",
        )
    for block, nonlinearity in product(("best", LARGER), NONLINEARITIES):
        yield _greatest(layers, paired(runs, block, nonlinearity, layers), nonlinearity, block)
    for nonlinearity in NONLINEARITIES:
        ends = [layers[0], DEEPEST]
        both = paired(runs, "best", nonlinearity, ends)
        lost = [pd.Series(wide[ends[0]] - wide[ends[-1]]) for wide in both]
        words = f"Accuracy at the last step lost from {ends[0]} to {DEEPEST} layers, without BN"
        yield Claim(
            f"{nonlinearity}_lost_with_depth_difference",
            f"With BN a {nonlinearity} network loses less accuracy from {ends[0]} to {DEEPEST} "
            "layers, each at its own best rate.",
            "1",
            q.mean(
                lost[0] - lost[1],
                f"{words} minus with BN, paired by seed",
                gained=_lost_at_each_image(runs, nonlinearity, ends, both),
            ),
            Above(),
            depends_on="the initial scale" if nonlinearity == "tanh" else "",
        )


def _lost_at_each_image(
    runs: Runs, nonlinearity: str, ends: Sequence[int], both: Sequence[pd.DataFrame]
) -> np.ndarray | None:
    """What is lost with depth without BN minus what is lost with it; None where not recorded."""
    shallow, deep = (answers(runs, "best", nonlinearity, depth) for depth in ends)
    without, with_bn = (
        q.gained_at(pd.Series(wide[ends[0]]), pd.Series(wide[ends[1]]), images)
        for wide, images in zip(both, zip(shallow, deep, strict=True), strict=True)
    )
    return None if without is None or with_bn is None else without - with_bn


def _greatest(
    layers: Sequence[int], both: Sequence[pd.DataFrame], nonlinearity: str, block: str
) -> Claim:
    reached = [wide.size and q.at_the_end(wide).mean() >= TRAINS for wide in both]
    scale = "larger_scale_" if block == LARGER else ""
    return Claim(
        f"{nonlinearity}_greatest_depth_{scale}ratio",
        f"BN trains deeper {nonlinearity} networks, each {BLOCKS[block][1]}.",
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


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    final, layers = runs.final("test", diverged=runs.chance), depths(runs)
    tried = [m.varied[RATE] for m in runs.planned(block="rates")]
    ends = {min(tried): " (lowest tried)", max(tried): " (highest tried)"} if tried else {}
    networks = list(product(NONLINEARITIES, layers, MNIST_ARMS))
    return {
        "depths": layers,
        "greatest": {n: found for n in NONLINEARITIES if (found := _greatest_depths(runs, n))},
        "accuracies": [
            [n, f"{d}", arm.label, *_row(arm.of(final).where(nonlinearity=n, depth=d), ends)]
            for n, d, arm in networks
        ],
        "scales": _scales(final),
        "one_scale": _one_scale(final),
        "deepest": depth_layers.of_deepest(runs),
        "larger": depth_layers.of_larger(runs),
        "layers": depth_layers.table(runs, networks),
    }


def _greatest_depths(runs: Runs, nonlinearity: str) -> list[tuple[str, float, float]]:
    """By block that has runs: its words, and the greatest depth that trains without BN and with."""
    layers, found = depths(runs), []
    for block, (_, where) in BLOCKS.items():
        both = paired(runs, block, nonlinearity, layers)
        if both[0].size:
            found.append((where, *(greatest_depth(layers, wide.to_numpy().T) for wide in both)))
    return found


def _row(network: Values, ends: dict[float, str]) -> list[str]:
    """A network's own best rate, and its accuracies in each block, with whether it trains."""
    cells = []
    for block in BLOCKS:
        if block != "common":
            rates = network.where(block=block).levels(RATE)
            cells += [f"{rate:g}{ends.get(rate, '')}" for rate in rates] or ["-"]
        top1 = network.where(block=block).by_seed()
        cells += [
            percent(top1),
            ("**yes**" if top1.mean() >= TRAINS else "no") if len(top1) else "-",
        ]
    return cells


def _scales(final: Values) -> list[list[str]]:
    """The deepest tanh networks from other initial scales, a row each, with the usual one."""
    found = _other_scales(final)
    usual = final.where(block="best", nonlinearity="tanh", depth=DEEPEST)
    rows = sorted((found | {USUAL_STD: usual}).items()) if found else []
    return [[f"{s:g}", *(percent(arm.of(v).by_seed()) for arm in MNIST_ARMS)] for s, v in rows]


def _other_scales(final: Values) -> dict[float, Values]:
    """The deepest tanh networks by initial scale, but for the usual one."""
    other = final.where(block="scales")
    found = {std: other.where(init_std=std) for std in other.levels("init_std")}
    larger = final.where(block=LARGER, nonlinearity="tanh", depth=DEEPEST)
    return found | ({LARGER_STD: larger} if len(larger.rows) else {})


def _one_scale(final: Values) -> bool:
    """Whether the deepest tanh network without BN trains at the usual scale, and at no other."""
    baseline = MNIST_ARMS[0].of(final)
    usual = baseline.where(block="best", nonlinearity="tanh", depth=DEEPEST).array
    means = [values.array.mean() for values in _other_scales(baseline).values()]
    return bool(means) and max(means) < TRAINS <= np.mean(usual)


STUDY = Study(
    prose="depth.md.j2",
    claims=claims,
    figures=figures,
    values=values,
    targets=(TRAINS,),
    traces=True,
    keep=depth_layers.keep,
)
