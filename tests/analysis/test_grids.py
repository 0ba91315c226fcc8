"""A number of each run over what was varied, and the stretch of settings that are good."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import grids
from bn_repro.analysis.tables import BadInput, Values


def values(*rows: tuple[float, int | None, int, float]) -> Values:
    frame = pd.DataFrame(rows, columns=["rate", "limit", "seed", "value"])
    return Values(frame.assign(experiment="mnist/bn", id=[f"{i}" for i in range(len(frame))]))


def test_cells_are_in_order_and_a_missing_value_is_last() -> None:
    table = values((1.0, None, 0, 0.4), (0.1, None, 0, 0.3), (0.1, 5, 0, 0.1), (1.0, 5, 0, 0.2))
    found = grids.grid(table, ["rate", "limit"])
    assert found is not None
    assert found.axes == ((0.1, 1.0), (5, None))
    assert found.values[..., 0].tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert found.best == (1, 1)
    assert found.complete


def test_the_seeds_are_those_of_every_cell_and_a_hole_is_nan() -> None:
    table = values((0.1, 5, 0, 0.1), (0.1, 5, 1, 0.2), (1.0, 6, 1, 0.3))
    found = grids.grid(table, ["rate", "limit"])
    assert found is not None
    assert found.seeds == (1,)
    assert np.isnan(found.values[0, 1]).all()
    assert found.best == (1, 1)
    assert not found.complete


def test_two_runs_in_a_cell_are_refused() -> None:
    with pytest.raises(BadInput, match="two runs with one seed"):
        grids.grid(values((0.1, 5, 0, 0.1), (0.1, 5, 0, 0.2)), ["rate", "limit"])


def test_nothing_is_no_grid() -> None:
    assert grids.grid(values(), ["rate"]) is None
    assert grids.grid(values((0.1, 5, 0, 0.1), (1.0, 5, 1, 0.1)), ["rate"]) is None


def test_a_gap_ends_the_good_range() -> None:
    means = np.array([0.98, 0.90, 0.979, 0.98, 0.975, 0.5])
    low, high = grids.good_range(means)
    assert (int(low), int(high)) == (0, 0)  # of two equal bests the first
    means[0] = 0.97
    low, high = grids.good_range(means)
    assert (int(low), int(high)) == (2, 4)
    low, high = grids.good_range(np.stack([means, means], axis=1))
    assert low.tolist() == [2, 2]
    assert high.tolist() == [4, 4]
