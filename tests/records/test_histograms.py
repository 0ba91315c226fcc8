"""Bins are fixed and cover every number; rows of other bins are told, not taken for these."""

import json

import numpy as np
import pytest

from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.histograms import BINS, COUNTS, HIGH, LOW, WIDTH, edges, read_histograms

ROW = {"step": 9, "site": "hidden1", "counts": [1] * COUNTS}


def test_the_bins_are_equal_and_exact_in_binary():
    ends = edges()
    assert len(ends) == COUNTS + 1
    assert (ends[0], ends[1], ends[-2], ends[-1]) == (LOW - WIDTH, LOW, HIGH, HIGH + WIDTH)
    assert ends[1:-1] == np.linspace(LOW, HIGH, BINS + 1).tolist()
    assert WIDTH.hex().startswith("0x1.0000000000000p")


def test_rows_are_read_and_a_torn_last_one_is_dropped(tmp_path):
    path, warnings = tmp_path / paths.HISTOGRAMS, []
    assert read_histograms(tmp_path) == []
    path.write_text(json.dumps(ROW) + '\n{"step": 10, "si')
    assert read_histograms(tmp_path, warnings) == [ROW]
    assert "torn" in warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [1] * 64},
        {"counts": [-1] * COUNTS},
        {"counts": [0.5] * COUNTS},
        {"counts": [True] * COUNTS},
        {"counts": "1"},
        {"counts": None},
        {"site": None},
    ],
)
def test_a_row_of_other_bins_is_one_line_with_path_and_fix(tmp_path, change):
    row = {k: v for k, v in (ROW | change).items() if v is not None}
    (tmp_path / paths.HISTOGRAMS).write_text(json.dumps(row) + "\n")
    with pytest.raises(Unreadable, match=f"^{tmp_path}/histograms.jsonl: step 9: expected") as told:
        read_histograms(tmp_path)
    assert str(told.value).endswith("; start over with force=true")
