"""How the input of a nonlinearity is distributed over fixed bins: which bins, and the rows read.

A row of ``histograms.jsonl`` is ``{"step", "site", "counts"}``: how many of the pooled layer's
values lie in each bin; they are those of the percentiles in the trace row of that step.
"""

from __future__ import annotations

from pathlib import Path

from bn_repro.records import paths
from bn_repro.records.errors import START_OVER, Unreadable
from bn_repro.records.json_files import Row, read_rows

LOW, HIGH, BINS = -8.0, 8.0, 64
WIDTH = (HIGH - LOW) / BINS
"""Of a bin: 0.25, a power of 2, so that no value is rounded into its neighbour."""
COUNTS = BINS + 2
"""The number of counts. The first bin is below ``LOW``, the last ``HIGH`` or above, the others
[left, right). NaN is not counted."""


def edges() -> list[float]:
    """The ends of all bins, one more than there are; the outer two are drawn as wide as a bin."""
    return [LOW + WIDTH * k for k in range(-1, BINS + 2)]


def read_histograms(directory: Path, warnings: list[str] | None = None) -> list[Row]:
    """The rows of ``histograms.jsonl``; none where a run has none."""
    path = directory / paths.HISTOGRAMS
    rows = read_rows(path, warnings)
    for row in rows:
        check(row, path)
    return rows


def check(row: Row, path: Path) -> None:
    """Unreadable where a row has no site, or other counts than these bins'."""
    counts = row.get("counts")
    if type(row.get("site")) is not str or not (
        type(counts) is list
        and len(counts) == COUNTS
        and all(type(count) is int and 0 <= count < 2**31 for count in counts)
    ):
        raise Unreadable(
            f"{path}: step {row['step']}: expected a site and the counts of {COUNTS} bins; "
            f"{START_OVER}"
        )
