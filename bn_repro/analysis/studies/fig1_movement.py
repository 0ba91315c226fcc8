"""Figure 1(b, c): how stable the inputs of the sigmoids are, by three measures; for ``fig1``.

The first measure stood before any run; the other two, and all three in inference mode, were
registered in docs/log.md (2026-11-26) with the seeds that judge them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import frames, movement
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.movement import Measure
from bn_repro.analysis.prose import times
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Below
from bn_repro.analysis.style import BASELINE, BN
from bn_repro.analysis.tables import Runs

SITES = ("hidden1", "hidden2", "hidden3")
LAST = SITES[-1]
UNITS = {"unit": 0, "layer": None}
WORDS = {"unit": "unit 0", "layer": "all units, pooled,"}
STARTS = (1, 1_000, 10_000)
"""Where in training the first measure starts, in the findings."""
IN_DETAIL, FRESH = range(10), range(10, 30)
"""The seeds of which inference mode is recorded, and those not looked at before the log's entry."""

MEASURES: dict[str, tuple[Measure, str]] = {
    "percentile_movement": (
        movement.movement,
        "have a more stable distribution as training progresses",
    ),
    "change_per_doubling": (movement.change_per_doubling, "change less from step t to step 2t"),
    "drift": (movement.drift, f"drift less after step {movement.DRIFT_FROM:,}"),
}
"""By the name in a claim's id: the measure, and what the claim says."""

REGISTERED = {
    f"by mini-batch (seeds {FRESH[0]} to {FRESH[-1]})": [
        f"{name}_{unit}_ratio" for name in list(MEASURES)[1:] for unit in UNITS
    ],
    f"in inference mode (seeds {IN_DETAIL[0]} to {IN_DETAIL[-1]})": [
        f"inference_{name}_{unit}_ratio" for name in MEASURES for unit in UNITS
    ],
}
"""The claims that the log registered, by how they are judged."""

Rows = tuple[pd.DataFrame, pd.DataFrame]
"""Of traces or probes: those with BN, and those without."""


def traced(runs: Runs, seeds: range | None = None) -> Rows:
    """The traces by mini-batch; of all seeds, or of some."""
    with_bn, without = (_of(arm.of(runs).traces, seeds) for arm in (BN, BASELINE))
    return with_bn, without


def probed(runs: Runs) -> Rows:
    """The percentiles in inference mode, on fixed test images."""
    rows = frames.select(runs.probes, probe="activations")
    probes = replace(runs, probes=rows)
    with_bn, without = (_of(arm.of(probes).probes, IN_DETAIL) for arm in (BN, BASELINE))
    return with_bn, without


def _of(rows: pd.DataFrame, seeds: range | None) -> pd.DataFrame:
    return rows if seeds is None else rows.loc[rows["seed"].isin(seeds)]


def ratio(
    rows: Rows,
    unit: int | None,
    measure: Measure = movement.movement,
    words: str = "",
    site: str = LAST,
    **how: Any,
) -> Quantity:
    """A measure with BN over the same without, paired by seed."""
    with_bn, without = (movement.moved(arm, site, unit, measure, **how) for arm in rows)
    return q.factor(with_bn, without, words)


def claims(runs: Runs) -> Iterator[Claim]:
    """The first measure by mini-batch on all seeds; then as the log registered it."""
    batch, fresh, inference = traced(runs), traced(runs, FRESH), probed(runs)
    yield from _claims("percentile_movement", batch)
    for name in ("change_per_doubling", "drift"):
        yield from _claims(name, fresh, f" Seeds {FRESH[0]} to {FRESH[-1]}.")
    for name in MEASURES:
        yield from _claims(name, inference, f" Seeds 0 to {IN_DETAIL[-1]}.", inference=True)


def _claims(name: str, rows: Rows, seeds: str = "", *, inference: bool = False) -> Iterator[Claim]:
    """One measure's two claims: of one unit, and of the layer."""
    measure, says = MEASURES[name]
    mode = "1,000 fixed test images in inference mode" if inference else "the training mini-batch"
    depends = "the measure: movement over width" if measure is movement.movement else "the measure"
    early = ", the doubling from step 1,000" if measure is movement.change_per_doubling else ""
    for what, unit in UNITS.items():
        part = {"unit": "one unit", "layer": "the layer"}[what]
        words = (
            f"{name.replace('_', ' ').capitalize().replace('Percentile movement', 'Movement')} "
            f"of the {{15, 50, 85}}th percentiles, over {mode}, of the sigmoid's input for "
            f"{WORDS[what]} of the last hidden layer: {movement.RULES[measure]}.{seeds} "
            "With BN over without"
        )
        found = ratio(rows, unit, measure, words)
        absolute = ratio(rows, unit, measure, relative=False)
        yield Claim(
            f"{'inference_' if inference else ''}{name}_{what}_ratio",
            f"{'In inference mode, with' if inference else 'With'} BN the inputs of the last "
            f"sigmoids ({part}) {says}.",
            "4.1, Figure 1(b, c)",
            replace(found, beside=f"absolute: {absolute}"),
            Below(1.0),
            depends_on=depends + (early if what == "layer" else ""),
        )


# --- findings -------------------------------------------------------------------------------------


def by_layer_and_start(runs: Runs) -> list[list[str]]:
    """How the first measure with BN over that without depends on layer, start and units."""
    rows, starts = traced(runs), [start for start in STARTS if start < runs.last_step]
    head = ["layer", "from step", "one unit", "one unit, absolute", "layer", "layer, absolute"]
    return [head] + [
        [site, f"{start:,}", *_cells(rows, movement.movement, site=site, start=start)]
        for site, start in product(reversed(SITES), starts)
    ]


def by_measure(runs: Runs) -> list[list[str]]:
    """The three measures of the last layer with BN over without, by mini-batch and in inference."""
    head = ["measure", "over", "seeds", "one unit", "one unit, absolute"]
    table = [[*head, "layer", "layer, absolute"]]
    modes = [("mini-batches", traced(runs, FRESH)), ("1,000 images, inference", probed(runs))]
    for (name, (measure, _)), (over, rows) in product(MEASURES.items(), modes):
        seeds = len(set(rows[0]["seed"]) & set(rows[1]["seed"]))
        if seeds:
            words = name.replace("percentile_", "").replace("_", " ")
            table.append([words, over, str(seeds), *_cells(rows, measure)])
    return table if len(table) > 1 else []


def _cells(rows: Rows, measure: Measure, **how: Any) -> list[str]:
    return [
        times(ratio(rows, unit, measure, relative=relative, **how).interval)
        for unit, relative in product(UNITS.values(), (True, False))
    ]


def by_doubling(runs: Runs) -> list[list[str]]:
    """When the layer changes: each doubling's change over the width, in inference mode."""
    steps = movement.doublings(runs.last_step)
    table = [["from step", *(f"{step:,.0f}" for step in steps[:-1])]]
    for arm, rows in zip((BN, BASELINE), probed(runs), strict=True):
        every = [movement.changes(t) for t in movement.tracks(rows, LAST, None).values()]
        whole = [seed for seed in every if len(seed) == len(steps) - 1]  # not of a diverged run
        if whole:
            table.append([arm.label, *(f"{x:.3f}" for x in np.median(whole, axis=0))])
    return table if len(table) == 3 else []
