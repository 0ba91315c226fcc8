"""How often a "95 %" interval covers the truth, simulated: why each quantity has the one it has.

Every cell draws ``REPETITIONS`` studies of n seeds from a known distribution, makes their intervals
(:mod:`coverage_methods`), and counts how many hold the true value. The worst of five shapes counts,
since nobody knows the shape of five seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bn_repro.analysis import frames, results
from bn_repro.analysis.coverage_methods import (
    RESAMPLES,
    Ends,
    of_count,
    of_images,
    of_medians,
    of_one,
    of_two,
    steps_of,
)
from bn_repro.analysis.intervals import ENOUGH_SEEDS, SEED
from bn_repro.analysis.prose import environment

REPETITIONS = 10_000
CHUNK = 500
SEEDS = (3, 5, 10)

ONE, PAIRED = "mean, one sample", "mean, paired"
TWO, UNLIKE = "means of two arms", "means of two arms, one spread twice as much"
MEDIANS, IMAGES = "ratio of medians of steps", "accuracy gained, on other images too"
COUNT = "k of n runs"
USED = {
    ONE: "Student",
    PAIRED: "Student",
    TWO: "Welch",
    UNLIKE: "Welch",
    MEDIANS: "bootstrap",
    IMAGES: "Student, seeds and images",
    COUNT: "Clopper and Pearson",
}
"""Each quantity, and the interval that it has here."""


class Shape(NamedTuple):
    """A distribution of seeds, with its true mean and median."""

    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    mean: float
    median: float


def _clusters(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(size) + 5.0 * (rng.random(size) < 0.2)


SHAPES = {
    "normal": Shape(lambda rng, size: rng.standard_normal(size), 0.0, 0.0),
    "uniform": Shape(lambda rng, size: rng.random(size), 0.5, 0.5),
    "skewed": Shape(lambda rng, size: rng.exponential(size=size), 1.0, math.log(2)),
    "heavy tails": Shape(lambda rng, size: rng.standard_t(3, size=size), 0.0, 0.0),
    "two clusters": Shape(_clusters, 1.0, 0.31864),
}
"""Skewed: exponential. Heavy: Student's t, 3 degrees. Two clusters: one seed in five lies apart."""


def cell(quantity: str, shape: str, n: int, repetitions: int = REPETITIONS) -> dict[str, float]:
    """The coverage of each method for one quantity, one shape and n seeds."""
    if quantity == COUNT:
        return {USED[COUNT]: of_count(n)} if n >= ENOUGH_SEEDS else {}
    rng = np.random.default_rng([SEED, *map(ord, quantity + shape), n])
    hits: dict[str, int] = {}
    for first in range(0, repetitions, CHUNK):
        rows = min(CHUNK, repetitions - first)
        found, truth = _drawn(rng, quantity, shape, rows, n)
        for method, (low, high) in found.items():
            hits[method] = hits.get(method, 0) + int(((low <= truth) & (truth <= high)).sum())
    return {method: count / repetitions for method, count in hits.items()}


def _drawn(
    rng: np.random.Generator, quantity: str, shape: str, rows: int, n: int
) -> tuple[dict[str, Ends], float]:
    """The intervals of some studies, and the truth."""
    if quantity == IMAGES:
        return of_images(rng, rows, n)
    seeds, mean, median = SHAPES[shape]
    x, y = (seeds(rng, (rows, n)) for _ in range(2))
    if quantity == ONE:
        return of_one(x), mean
    if quantity == PAIRED:
        return of_one(x - y), 0.0
    if quantity in (TWO, UNLIKE):
        factor = 1 + (quantity == UNLIKE)
        return of_two(x, factor * y), (1 - factor) * mean
    return of_medians(steps_of(x, 1_000.0, median), steps_of(y, 500.0, median)), 2.0


def table(repetitions: int = REPETITIONS) -> pd.DataFrame:
    """A row a quantity, method, shape and number of seeds."""
    rows = []
    for quantity in USED:
        shapes = ("-",) if quantity in (IMAGES, COUNT) else SHAPES
        for shape in shapes:
            for n in SEEDS:
                for method, share in cell(quantity, shape, n, repetitions).items():
                    rows.append((quantity, method, shape, n, share))
    return pd.DataFrame(rows, columns=["quantity", "method", "shape", "n", "coverage"])


def worst(found: pd.DataFrame) -> list[list[str]]:
    """The coverage at the worst shape: a row a quantity and method (bold: used), a head first."""
    rows = [["quantity", "interval", *(f"n = {n}" for n in SEEDS)]]
    for quantity, method in found[["quantity", "method"]].drop_duplicates().to_numpy():
        part = frames.select(found, quantity=quantity, method=method)
        least = [min(frames.select(part, n=n)["coverage"].tolist(), default=None) for n in SEEDS]
        cells = ["-" if share is None else f"{100 * share:.1f} %" for share in least]
        rows.append([quantity, f"**{method}**" if USED[quantity] == method else method, *cells])
    return rows


def write(folder: Path, repetitions: int = REPETITIONS) -> list[Path]:
    """``coverage.csv`` and ``README.md`` in a folder."""
    found = table(repetitions)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        results.write(folder / "coverage.csv", results.to_csv(found, "coverage.csv")),
        results.write(folder / results.README, page(found, repetitions)),
    ]


def page(found: pd.DataFrame, repetitions: int = REPETITIONS) -> str:
    """``README.md`` of a table that was made with so many ``repetitions``."""
    words = environment().get_template("coverage.md.j2")
    return words.render(rows=worst(found), repetitions=repetitions, resamples=RESAMPLES)
