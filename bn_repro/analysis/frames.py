"""Rows of frames by their values; what two tables share."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """None for NaN, which a file has where a value is missing."""
    return None if value is None or value != value else value


def column_of(frame: pd.DataFrame, key: str) -> str | None:
    """The column of a key, or the one column that ends in it (``depth``: ``model.depth``)."""
    if key in frame:
        return key
    found = [str(name) for name in frame if str(name).rpartition(".")[2] == key]
    return found[0] if len(found) == 1 else None


def where(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values.

    A key may be a column's last part (``depth``: ``model.depth``); ``block`` is any of a run's
    ``blocks``. None is a missing value, and so is a column that is not there; a list or a tuple is
    any of its values.
    """
    mask = np.ones(len(frame), dtype=bool)
    for key, wanted in values.items():
        any_of = wanted if isinstance(wanted, list | tuple) else (wanted,)
        if key == "block":
            blocks = [str(cell).split("+") for cell in frame["blocks"]]
            mask &= np.array([not set(any_of).isdisjoint(found) for found in blocks], bool)
            continue
        column = column_of(frame, key)
        cells = [None] * len(frame) if column is None else frame[column].tolist()
        mask &= np.array([plain(cell) in any_of for cell in cells], dtype=bool)
    return frame.take(np.flatnonzero(mask))


Table = TypeVar("Table", pd.Series, pd.DataFrame)


def shared(a: Table, b: Table) -> tuple[Table, Table]:
    """Both cut down to the seeds (rows) and the steps (columns) that both have."""
    seeds = a.index.intersection(b.index)
    if isinstance(a, pd.Series):
        return a.loc[seeds], b.loc[seeds]
    steps = a.columns.intersection(b.columns)  # pyright: ignore[reportAttributeAccessIssue]
    return a.loc[seeds, steps], b.loc[seeds, steps]


def at_end(rows: pd.DataFrame, name: str, column: str, *, first: bool) -> pd.DataFrame:
    """A number of each seed (row) and value of ``column``, at its first step or its last."""
    ends = rows.groupby("seed")["step"].transform("min" if first else "max")
    kept = rows.loc[rows["step"] == ends]
    return kept.pivot(index="seed", columns=column, values=name).astype(float)


def select(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None selects the missing."""
    mask = np.ones(len(frame), dtype=bool)
    for column, value in values.items():
        cells = frame[column]
        mask &= np.asarray(cells.isna() if value is None else cells == value, dtype=bool)
    return frame.take(np.flatnonzero(mask))
