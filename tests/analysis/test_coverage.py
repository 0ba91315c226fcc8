"""The simulation of coverage: one cell of the table again, and its intervals are the project's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import coverage, frames, intervals
from bn_repro.analysis import coverage_methods as methods
from bn_repro.records.paths import RESULTS


def test_one_cell_of_the_committed_table_comes_out_again() -> None:
    table = pd.read_csv(RESULTS / "coverage" / "coverage.csv")
    cell = table.query(f"quantity == '{coverage.PAIRED}' and shape == 'skewed' and n == 5")
    again = coverage.cell(coverage.PAIRED, "skewed", 5)
    assert again == pytest.approx(dict(zip(cell["method"], cell["coverage"], strict=True)))


def test_the_committed_page_is_what_the_table_says() -> None:
    folder = RESULTS / "coverage"
    assert (folder / "README.md").read_text() == coverage.page(pd.read_csv(folder / "coverage.csv"))


def test_what_is_used_covers_what_it_says() -> None:
    """At least 93 % at the worst shape from five seeds on; the two exceptions are told."""
    table = pd.read_csv(RESULTS / "coverage" / "coverage.csv").query("n >= 5")
    worst = {
        quantity: min(frames.select(table, quantity=quantity, method=method)["coverage"].tolist())
        for quantity, method in coverage.USED.items()
    }
    assert worst.pop(coverage.ONE) == pytest.approx(0.865, abs=1e-3)  # as its words say
    assert worst.pop(coverage.UNLIKE) == pytest.approx(0.927, abs=1e-3)
    assert min(worst.values()) >= 0.93


def test_the_simulated_intervals_are_those_of_the_studies() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    (low, high), found = methods.of_one(x)["Student"], intervals.interval(x[1])
    assert (low[1], high[1]) == pytest.approx((found.low, found.high))
    (low, high) = methods.of_two(x, y)["Welch"]
    found = intervals.difference(x[1], y[1], paired=False)
    assert (low[1], high[1]) == pytest.approx((found.low, found.high))


def test_the_simulated_ratio_of_medians_is_the_bootstraps() -> None:
    """In order, a row has the same medians: the places are drawn, and not the numbers."""
    slow, fast = np.array([[500.0, 520, 600, 640, 700, np.inf]]), np.arange(200.0, 320, 20)[None]
    many, few = methods.resampled_medians(slow, 5), methods.resampled_medians(fast, 6)
    found = intervals.bootstrap(
        lambda a, b: np.median(a, axis=-1) / np.median(b, axis=-1),
        slow[0],
        fast[0],
        resamples=methods.RESAMPLES,
        seed=5,
    )
    low, high = intervals.ends(many / few)
    assert (found.low, found.high) == (low[0], high[0])
