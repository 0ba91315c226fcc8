"""All units of the last layer, and how far the typical one drifts; for ``fig1``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bn_repro.analysis import movement
from bn_repro.analysis import quantities as q
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.studies.fig1_movement import LAST, Rows
from bn_repro.analysis.studies.fig1_rows import kept_step


def of_units(rows: pd.DataFrame) -> pd.DataFrame:
    """The last layer by unit where all units are kept: medians and widths by step (row)."""
    part = rows.loc[(rows["site"] == LAST) & rows["unit"].notna() & kept_step(rows)]
    part = part.loc[part["seed"].isin(part.loc[part["unit"] == 1, "seed"])]
    part = part.assign(width=part["p85"] - part["p15"])
    return part.pivot(index="step", columns=["seed", "unit"], values=["p50", "width"])


def unit_drifts(rows: pd.DataFrame) -> pd.Series:
    """Each unit's drift over its width, by seed and unit; without a running median.

    Empty where step 1,000 and a later one are not kept.
    """
    units = of_units(rows)
    if len(units) < 2 or units.index[0] != movement.DRIFT_FROM:
        return pd.Series(dtype=float)
    p50, width = (units[name].to_numpy(float) for name in ("p50", "width"))
    moved = np.abs(p50[-1] - p50[0]) / width.mean(axis=0)
    return pd.Series(moved, index=units["p50"].columns)


def typical_unit(rows: Rows) -> Quantity:
    """The drift of a seed's median unit, with BN over without."""
    arms = [unit_drifts(arm) for arm in rows]
    if any(arm.empty for arm in arms):
        return q.factor(pd.Series(dtype=float), pd.Series(dtype=float), "")
    with_bn, without = (arm.groupby(level="seed").median() for arm in arms)
    return q.factor(with_bn, without, "The drift of the median unit")
