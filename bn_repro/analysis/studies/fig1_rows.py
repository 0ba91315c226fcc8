"""Which rows of its traces and probes ``fig1`` keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from bn_repro.analysis import movement
from bn_repro.analysis.studies.fig1_movement import IN_DETAIL, LAST
from bn_repro.analysis.tables import Runs

UNIT_STEPS = 2_000
"""The other units than the first are kept at its multiples, and where drift starts."""


def keep(runs: Runs) -> Runs:
    """Every row of a layer and of its first unit; of other units percentiles, at fewer steps.

    Of seeds beyond IN_DETAIL, the percentiles of the last layer alone.
    """
    traces, probes = (
        rows.loc[_first_or_pooled(rows) | kept_step(rows)] for rows in (runs.traces, runs.probes)
    )
    traces = traces.loc[_in_detail(traces) | (traces["site"] == LAST)]
    whole = _first_or_pooled(traces) & _in_detail(traces)
    rest = [c for c in traces if c in ("mean", "std", "saturated", "grad_norm")]
    traces = traces.assign(**{c: traces[c].where(whole, np.nan) for c in rest})
    return replace(runs, traces=traces, probes=probes)


def _in_detail(rows: pd.DataFrame) -> np.ndarray:
    return rows["seed"].isin(IN_DETAIL).to_numpy(bool)


def _first_or_pooled(rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(rows["unit"].isna() | (rows["unit"] == 0), dtype=bool)


def kept_step(rows: pd.DataFrame) -> np.ndarray:
    """At which rows all units are kept."""
    steps = rows["step"].to_numpy(float)
    return (steps == movement.DRIFT_FROM) | (steps % UNIT_STEPS == 0)
