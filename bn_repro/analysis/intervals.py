"""Bootstrap intervals over seeds.

The percentile bootstrap is too narrow with few seeds: about 90 % where 95 % is asked, at n = 10.
Its tails are therefore taken at Phi(-sqrt(n / (n - 1)) t), t being Student's quantile with n - 1
degrees of freedom (the "expanded percentile" interval of Hesterberg, *What Teachers Should Know
About the Bootstrap*, 2015, sec. 3.3 and 5.2). Like any percentile interval it respects monotone
transformations, and so takes ratios and infinities as they are. No bootstrap can look past its
data: measured for the mean of normal numbers, it covers 95 % from n = 10 on and 92 % at n = 5;
with n < 5 it is the range of the resampled values, and covers the truth at best with probability
1 - 2^(1 - n) (75 % at n = 3). Reports show every point beside it there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 1502_03167

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes (..., n), returns (...)."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; ``n`` is the number of seeds behind it."""

    estimate: float
    low: float
    high: float
    n: int

    def percent(self) -> str:
        """A fraction as ``97.6 % [97.5, 97.7]``."""
        ends = "" if math.isnan(self.low) else f" [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return "-" if math.isnan(self.estimate) else f"{100 * self.estimate:.1f} %{ends}"


def mean(values: np.ndarray) -> np.ndarray:
    """Arithmetic mean over the last axis."""
    return np.mean(values, axis=-1)


def median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis; infinities (targets never reached) take part."""
    return np.median(values, axis=-1)


def geometric_mean(values: np.ndarray) -> np.ndarray:
    """Geometric mean over the last axis, of positive values."""
    return np.exp(np.mean(np.log(values), axis=-1))


def student_quantile(p: float, degrees: int) -> float:
    """Student's t quantile by Cornish and Fisher's expansion (to 1 % from 3 degrees on)."""
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def tail(n: int, level: float = LEVEL) -> float:
    """The share of the resampled values to leave out at each end, for ``n`` seeds."""
    t = student_quantile((1 + level) / 2, n - 1)
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * t)


def bootstrap(
    compute: Callable[..., np.ndarray],
    *samples: Sequence[float] | np.ndarray,
    paired: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The interval of ``compute(*samples)``, resampling seeds with replacement.

    ``compute`` takes an array per sample and reduces its last axis, the seeds; a sample (..., n)
    comes resampled as (..., resamples, n), and one value per resample is to come back. ``paired``
    draws the same seeds from every sample (which then have one length). With fewer than two seeds
    the ends are NaN. A resample whose value is undefined (infinity over infinity) counts as
    anything: it widens the interval at both ends.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    sizes = [array.shape[-1] for array in arrays]
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"paired samples must have the same length, not {sizes}")
    n = min(sizes)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = float(compute(*arrays))
        if n < 2:
            return Interval(estimate, math.nan, math.nan, n)
        generator = np.random.default_rng(seed)
        draws = [generator.integers(size, size=(resamples, size)) for size in sizes]
        if paired:
            draws = [draws[0]] * len(arrays)
        values = compute(*(a[..., d] for a, d in zip(arrays, draws, strict=True)))
    undefined = np.isnan(values)
    cut = int(tail(n, level) * resamples)
    # By sorting, since interpolated quantiles of infinities are NaN.
    low = np.sort(np.where(undefined, -np.inf, values))[cut]
    high = np.sort(np.where(undefined, np.inf, values))[resamples - 1 - cut]
    return Interval(estimate, float(low), float(high), n)


def interval(values: Sequence[float] | np.ndarray, statistic: Statistic = mean) -> Interval:
    """The statistic of one arm's seeds."""
    return bootstrap(statistic, values)


def difference(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    paired: bool,
    statistic: Statistic = mean,
    level: float = LEVEL,
) -> Interval:
    """``statistic(a) - statistic(b)``; ``paired`` where both arms list the same seeds in order."""
    return bootstrap(lambda x, y: statistic(x) - statistic(y), a, b, paired=paired, level=level)


def ratio(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    paired: bool,
    statistic: Statistic = geometric_mean,
) -> Interval:
    """``statistic(a) / statistic(b)``; with medians, infinities give a ratio of 0 or infinity."""
    return bootstrap(lambda x, y: statistic(x) / statistic(y), a, b, paired=paired)
