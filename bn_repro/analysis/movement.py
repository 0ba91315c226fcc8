"""How much a distribution moves in training, from the recorded percentiles of its traces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.tables import Runs

WINDOW = 11
"""Rows of the running median that takes the mini-batch's noise out of a percentile."""

Track = tuple[np.ndarray, np.ndarray]
"""Steps (T,), and the {15, 50, 85}th percentiles (3, T)."""

RULE = (
    f"after a running median over {WINDOW} recorded rows, the time average over all of training of "
    "each percentile's distance from its own time average, mean of the three, divided by the time "
    "average of p85 - p15"
)


def tracks(runs: Runs, site: str, unit: int | None) -> dict[int, Track]:
    """By seed, the percentiles of the input of ``site``: of one unit, or (None) of the layer."""
    rows = frames.select(runs.traces, site=site, unit=unit)
    found: dict[int, Track] = {}
    for seed in sorted(set(rows["seed"])):
        part = frames.select(rows, seed=seed).sort_values("step")
        values = part[["p15", "p50", "p85"]].to_numpy(float).T
        found[int(seed)] = part["step"].to_numpy(float), values
    return found


def median_track(by_seed: dict[int, Track]) -> Track:
    """The median over seeds, as far as every seed goes (all are recorded on one grid of steps)."""
    steps = min((steps for steps, _ in by_seed.values()), key=len)
    values = [values[:, : len(steps)] for _, values in by_seed.values()]
    return steps, np.median(values, axis=0)


def smoothed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """The running median over the last axis, the ends held; ``window`` is odd."""
    edges = [(0, 0)] * (values.ndim - 1) + [(window // 2, window // 2)]
    padded = np.pad(values, edges, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1), axis=-1)


def relative(values: np.ndarray) -> np.ndarray:
    """Percentiles (3, T) less their own mean over the rows, over the mean of p85 - p15."""
    p = smoothed(values)
    return (p - p.mean()) / (p[2] - p[0]).mean()


def movement(track: Track, start: float = 1, *, relative: bool = True) -> float:
    """How far the percentiles are, on average over training, from where they are on average.

    For each percentile, after a running median (or the noise of a mini-batch of 60 would count as
    movement), the time average of its distance from its own time average, from step ``start`` on;
    then the mean over the percentiles. ``relative`` divides by the time average of p85 - p15: the
    width of a distribution is no movement, and BN's gamma sets it freely. NaN under 3 rows.
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


def moved(runs: Runs, site: str, unit: int | None, **how: Any) -> pd.Series:
    """:func:`movement` by seed, without those where nothing moves or too little is known."""
    found = {seed: movement(track, **how) for seed, track in tracks(runs, site, unit).items()}
    return pd.Series({seed: value for seed, value in found.items() if value > 0}, dtype=float)
