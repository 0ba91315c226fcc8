"""The Inceptions of section 4.2 as arms of a study: their runs, their curves, their looks.

One experiment may stand for several arms, where a key is varied; a :class:`Setting` tells them
apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bn_repro.analysis import intervals, steps_to, style, tables
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.tables import StudyData

CHANCE = 0.01
"""Of Tiny ImageNet's 100 classes at hand."""


class Setting(NamedTuple):
    """What tells arms apart: the experiment; and where the first weights are not He's but from a
    small Gaussian, its standard deviation."""

    experiment: str
    std: float | None = None


INCEPTION = Setting("imagenet/inception")
BN_BASELINE = Setting("imagenet/bn_baseline")
BN_BASELINE_X5 = Setting("imagenet/bn_baseline_x5")
BN_X5 = Setting("imagenet/bn_x5")
BN_X30 = Setting("imagenet/bn_x30")
BN_SIGMOID = Setting("imagenet/bn_x5_sigmoid")
X5 = Setting("imagenet/inception_x5")
SIGMOID = Setting("imagenet/inception_sigmoid")

NETWORKS = {
    INCEPTION: style.Arm("Inception", "#e6912e", (0, (4.5, 1.4)), "s"),
    BN_BASELINE: style.Arm("BN-Baseline", "#56a3dc", "-", "^"),
    BN_X5: style.Arm("BN-x5", "#0b4a8f", "-", "o"),
    BN_X30: style.Arm("BN-x30", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D"),
    BN_SIGMOID: style.Arm("BN-x5-Sigmoid", "#4a9a5c", (0, (1.2, 1.1)), "v"),
}
"""Figure 3's rows, in its order, as they are drawn."""


def part(data: StudyData, setting: Setting) -> StudyData:
    """One arm's runs."""
    runs = tables.select(data.runs, experiment=setting.experiment)
    blank = [None] * len(runs)
    keys = "model.init", "model.init_std"
    inits, stds = (runs[key].tolist() if key in runs else blank for key in keys)
    mine = [
        (std if init == "gaussian" else None) == setting.std
        for init, std in zip(inits, stds, strict=True)
    ]
    return tables.subset(data, runs.take(np.flatnonzero(mine)))


def curves(data: StudyData, setting: Setting) -> pd.DataFrame:
    """Single-crop validation accuracy, seed by step; a diverged run counts as chance."""
    return tables.curve(part(data, setting), setting.experiment, split="val", diverged=CHANCE)


def best(data: StudyData, setting: Setting) -> np.ndarray:
    """Each seed's maximum accuracy; chance where a run diverged before its first evaluation."""
    return part(data, setting).runs["best_top1"].fillna(CHANCE).to_numpy(float)


def target_of(data: StudyData, setting: Setting) -> float:
    """The accuracy to count steps to: the best of the arm's typical run; NaN without one."""
    values = best(data, setting)
    if not len(values):
        return math.nan
    # Down to 4 decimals, as the name of its column in runs.csv has it; rows are rounded to 6.
    return math.floor(1e4 * round(float(steps_to.typical_best(values)), 6) + 1e-6) / 1e4


def grid_of(data: StudyData) -> float:
    """The distance of evaluations, in steps: the resolution of any number of steps."""
    steps = sorted(set(tables.select(data.curves, split="val")["step"].tolist()))
    return float(np.median(np.diff([0, *steps]))) if steps else math.nan


def speed_up(data: StudyData, slow: Setting, fast: Setting, *, to_best_of: Setting) -> Interval:
    """median(steps of ``slow``) / median(steps of ``fast``) to the best of ``to_best_of``.

    Seeds of each arm are resampled on their own, and the target with those of its arm. A run's
    steps s are known to lie in (s - grid, s], which widens the interval at both ends.
    """
    arms = list(dict.fromkeys((to_best_of, slow, fast)))
    wide, grid = [curves(data, arm) for arm in arms], grid_of(data)
    if any(w.empty for w in wide):
        return Interval(math.nan, math.nan, math.nan, 0)
    ceiling = wide[0].max(axis=1).to_numpy(float)

    def ratio(less_slow: float, less_fast: float) -> Interval:
        def compute(*draws: np.ndarray) -> np.ndarray:
            chosen = [draw.astype(int) for draw in draws]
            target = steps_to.typical_best(ceiling[chosen[0]])
            medians = [
                np.median(np.take_along_axis(steps_to.at(w, target), draw, -1), axis=-1)
                for w, draw in zip(wide, chosen, strict=True)
            ]
            return (medians[arms.index(slow)] - less_slow) / (medians[arms.index(fast)] - less_fast)

        return intervals.bootstrap(compute, *(np.arange(len(w)) for w in wide))

    found = ratio(0, 0)
    return Interval(found.estimate, ratio(grid, 0).low, ratio(0, grid).high, found.n)


def missing(data: StudyData, arms: Mapping[Setting, style.Arm]) -> list[str]:
    """The arms that lack runs, and how many: ``BN-x30 (1 of 3 seeds)``."""
    found = []
    for setting, arm in arms.items():
        planned = {
            member.seed
            for member in data.members
            if member.experiment == setting.experiment
            and (member.varied.get("model.init") == "gaussian") == (setting.std is not None)
            and setting.std in (None, member.varied.get("model.init_std"))
        }
        here = len(part(data, setting).runs)
        if here < len(planned) or not planned:
            found.append(f"{arm.label} ({here} of {style.count(len(planned), 'seed')})")
    return found


def last_step(data: StudyData) -> float:
    """The length of the longest run."""
    return float(max(data.runs["step"].tolist()))


def percent_axis(ax: Axes) -> Axes:
    """Fractions along y, in percent."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    return ax


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, str]], *, gap: float = 0.052) -> Axes:
    """Names curves at the right of linear axes: ``ends`` has each one's last value and colour.

    Names that would touch are moved apart, to ``gap`` of the axes' height, in their order.
    """
    names = sorted(ends, key=lambda name: ends[name][0])
    low, high = ax.get_ylim()
    heights = _apart([(ends[name][0] - low) / (high - low) for name in names], gap)
    for name, y in zip(names, heights, strict=True):
        ax.text(
            1.015,
            y,
            name,
            transform=ax.transAxes,
            color=ends[name][1],
            **{"va": "center", "ha": "left", "fontsize": 7.5, "fontweight": "bold"},
        )
    return ax


def _apart(wanted: list[float], gap: float) -> list[float]:
    """Ascending places at least ``gap`` apart, clusters centred on where they would be."""
    clusters: list[list[float]] = []
    for place in wanted:
        clusters.append([place])
        while len(clusters) > 1:
            (a, b) = clusters[-2:]
            if np.mean(b) - np.mean(a) >= gap * (len(a) + len(b)) / 2:
                break
            clusters[-2:] = [a + b]
    return [
        float(np.mean(cluster)) + gap * (i - (len(cluster) - 1) / 2)
        for cluster in clusters
        for i in range(len(cluster))
    ]
