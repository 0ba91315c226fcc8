"""How much a distribution moves in training, from the recorded percentiles of its traces.

Three measures, each of a :data:`Track`: :func:`movement` (the first), and two that were registered
later (docs/log.md, 2026-11-26): :func:`change_per_doubling` and :func:`drift`. All three take a
running median first, or the noise of a mini-batch of 60 would count; and all three are over a width
p85 - p15 unless they are asked for in absolute units (``relative=False``), since a distribution's
width is no movement, and BN's gamma sets it freely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import frames

WINDOW = 11
"""Rows (odd) of the running median that takes the mini-batch's noise out of a percentile."""
FIRST_DOUBLING = 500
"""The step at which the first doubling starts."""
DRIFT_FROM = 1_000

Track = tuple[np.ndarray, np.ndarray]
"""Steps (T,), and the {15, 50, 85}th percentiles (3, T)."""
Measure = Callable[..., float]
"""Of a track: a number, NaN where too little is recorded; by keyword ``relative``."""


def tracks(rows: pd.DataFrame, site: str, unit: int | None) -> dict[int, Track]:
    """By seed, the percentiles of the input of ``site``: of one unit, or (None) of the layer.

    ``rows`` are the traces or the probes of one arm.
    """
    rows = frames.select(rows, site=site, unit=unit).sort_values(["seed", "step"])
    seeds, first = np.unique(rows["seed"].to_numpy(int), return_index=True)
    steps = np.split(rows["step"].to_numpy(float), first[1:])
    values = np.split(rows[["p15", "p50", "p85"]].to_numpy(float).T, first[1:], axis=1)
    return dict(zip(seeds.tolist(), zip(steps, values, strict=True), strict=False))


def median_track(by_seed: dict[int, Track]) -> Track:
    """The median over seeds, as far as every seed goes (all are recorded on one grid of steps)."""
    steps = min((steps for steps, _ in by_seed.values()), key=len)
    values = [values[:, : len(steps)] for _, values in by_seed.values()]
    return steps, np.median(values, axis=0)


def smoothed(values: np.ndarray) -> np.ndarray:
    """The running median of ``WINDOW`` over the last axis, the ends held."""
    edges = [(0, 0)] * (values.ndim - 1) + [(WINDOW // 2, WINDOW // 2)]
    padded = np.pad(values, edges, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=-1), axis=-1)


def relative(values: np.ndarray) -> np.ndarray:
    """Percentiles (3, T) less their own mean over the rows, over the mean of p85 - p15."""
    p = smoothed(values)
    return (p - p.mean()) / (p[2] - p[0]).mean()


def movement(track: Track, start: float = 1, *, relative: bool = True) -> float:
    """The percentiles' mean distance from their own time averages.

    For each percentile the time average of its distance from its own time average, from step
    ``start`` on; then the mean over the percentiles. ``relative``: over the time average of
    p85 - p15. NaN under 3 rows.
    """
    steps, values = track
    kept = steps >= start
    if kept.sum() < 3:
        return math.nan
    p = smoothed(values)[:, kept]
    weights = np.gradient(steps[kept])  # rows are dense early; each counts for the steps around it
    weights /= weights.sum()
    moved = np.abs(p - (p @ weights)[:, None]) @ weights
    width = (p[2] - p[0]) @ weights
    return float(moved.mean() / width) if relative else float(moved.mean())


def doublings(last: float) -> np.ndarray:
    """The steps 500, 1,000, 2,000, ... of a run of ``last`` steps; fewer than two: too short."""
    known = int(math.log2(last / FIRST_DOUBLING)) + 1 if last >= FIRST_DOUBLING else 0
    return FIRST_DOUBLING * 2.0 ** np.arange(known)


def changes(track: Track, *, relative: bool = True) -> np.ndarray:
    """At each doubling of steps, how far the percentiles are at step 2t from where they were at t.

    The mean over the percentiles, from t = 500 as far as 2t is in the run. ``relative``: over
    p85 - p15 at step t. A step between two recorded ones is interpolated.
    """
    steps, values = track
    grid = doublings(steps[-1])
    p = np.array([np.interp(grid, steps, row) for row in smoothed(values)])
    moved = np.abs(np.diff(p, axis=1))
    return (moved / (p[2] - p[0])[:-1] if relative else moved).mean(axis=0)


def change_per_doubling(track: Track, *, relative: bool = True) -> float:
    """The mean of :func:`changes` over the doublings; NaN where the run is shorter than one."""
    steps, _ = track
    if not len(steps) or steps[0] > FIRST_DOUBLING or steps[-1] < 2 * FIRST_DOUBLING:
        return math.nan
    return float(changes(track, relative=relative).mean())


def drift(track: Track, *, relative: bool = True) -> float:
    """How far the median is at the last step from where it was at step 1,000.

    ``relative``: over the mean of p85 - p15 in the rows between the two. NaN where step 1,000 is
    not recorded, or nothing after it. At the last step the running median, whose ends are held, is
    the last row's own value: a mini-batch's noise is in it.
    """
    steps, values = track
    if DRIFT_FROM not in steps or steps[-1] == DRIFT_FROM:
        return math.nan
    p = smoothed(values)[:, steps >= DRIFT_FROM]
    moved = abs(p[1, -1] - p[1, 0])
    return float(moved / (p[2] - p[0]).mean() if relative else moved)


AFTER = f"after a running median over {WINDOW} recorded rows, "
RULES: dict[Measure, str] = {
    movement: AFTER + "the time average over all of training of each percentile's distance from "
    "its own time average, mean of the three, divided by the time average of p85 - p15",
    change_per_doubling: AFTER + "each percentile's distance at step 2t from itself at step t, "
    f"divided by p85 - p15 at step t, mean of the three and of t = {FIRST_DOUBLING:,}, "
    f"{2 * FIRST_DOUBLING:,}, {4 * FIRST_DOUBLING:,}, ... as far as 2t is in the run",
    drift: AFTER + "the median's distance at the last step (where the running median, whose ends "
    f"are held, is the last row's own) from itself at step {DRIFT_FROM:,}, divided by the mean of "
    "p85 - p15 between the two",
}
"""Each measure, relative to the width, in words."""


def moved(
    rows: pd.DataFrame, site: str, unit: int | None, measure: Measure = movement, **how: Any
) -> pd.Series:
    """The measure by seed, without those where nothing moves or too little is known."""
    found = {seed: measure(track, **how) for seed, track in tracks(rows, site, unit).items()}
    return pd.Series({seed: value for seed, value in found.items() if value > 0}, dtype=float)
