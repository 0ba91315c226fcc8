"""95 % intervals, each for its own kind of quantity; ``results/coverage`` has what they cover.

=====================================  ==========================================================
a mean; a difference paired by seed    Student: :func:`interval`, :func:`difference`
a difference of two arms               Welch: :func:`difference`, ``paired=False``
a ratio of positive numbers, paired    Student on its logarithm: :func:`ratio`
an accuracy on images that are known   either, with the variance over images added: ``images``
k of n runs                            Clopper and Pearson: :func:`share`
a ratio of medians of steps            the percentile bootstrap: :func:`bootstrap`
what is discrete: a range of rates     no interval; every seed, and :func:`sign_test`
=====================================  ==========================================================

With fewer than ``ENOUGH_SEEDS`` seeds there are points and no interval: its ends are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

ENOUGH_SEEDS = 5
"""With fewer there is no interval, and so no verdict."""
LEVEL = 0.95
RESAMPLES = 10_000
SEED = 1502_03167

Numbers = Sequence[float] | np.ndarray
Images = tuple[pd.DataFrame, pd.DataFrame]
"""Of two arms: right (1) or wrong (0), a row a seed and a column an image; NaN where not seen."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; ``n`` is the number of seeds behind it."""

    estimate: float
    low: float
    high: float
    n: int
    degrees: float | None = None
    """Student's degrees of freedom; None: n - 1."""

    def percent(self) -> str:
        """A fraction as ``92.6 % [92.3, 93.0]``, a surer one as ``97.43 % [97.40, 97.46]``."""
        digits = 2 if self.high - self.low < 0.002 else 1
        middle, low, high = (f"{100 * x:.{digits}f}" for x in (self.estimate, self.low, self.high))
        if math.isnan(self.estimate):
            return "-"
        return f"{middle} %" if math.isnan(self.low) else f"{middle} % [{low}, {high}]"


# --- means ----------------------------------------------------------------------------------------


def student_quantile(p: float, degrees: float) -> float:
    """Student's t quantile."""
    from scipy import special  # takes longer to load than all the rest

    return float(special.stdtrit(degrees, p))


Source = tuple[float, float]
"""A variance of an estimate, and its degrees of freedom."""


def around(estimate: float, sources: Sequence[Source], n: int, level: float = LEVEL) -> Interval:
    """Student's interval where independent sources of uncertainty add up.

    The degrees of freedom of the sum are Satterthwaite's: (sum v)^2 / sum(v^2 / degrees). With one
    source this is Student's own interval, with an arm each Welch's.
    """
    if n < ENOUGH_SEEDS:
        return Interval(estimate, math.nan, math.nan, n)
    total = sum(variance for variance, _ in sources)
    if total == 0:
        return Interval(estimate, estimate, estimate, n)
    degrees = total**2 / sum(variance**2 / own for variance, own in sources)
    reach = student_quantile((1 + level) / 2, degrees) * math.sqrt(total)
    return Interval(estimate, estimate - reach, estimate + reach, n, degrees)


def of_mean(values: np.ndarray) -> Source:
    """Of the mean of independent values (n,), n of at least 2: over seeds, or over images."""
    return float(np.var(values, ddof=1)) / len(values), len(values) - 1


def of_images(images: np.ndarray) -> Source:
    """:func:`of_mean` over images, but for those that some run has not seen (NaN)."""
    return of_mean(images[np.isfinite(images)])


def interval(
    values: Numbers, *, images: np.ndarray | None = None, level: float = LEVEL
) -> Interval:
    """The mean of one number a seed; ``images`` as in :func:`difference`."""
    known = np.asarray(values, dtype=float)
    sources = [of_mean(known)] if len(known) > 1 else []
    sources += [] if images is None else [of_images(images)]
    return around(float(known.mean()) if len(known) else math.nan, sources, len(known), level)


def difference(
    a: Numbers, b: Numbers, *, paired: bool, images: np.ndarray | None = None, level: float = LEVEL
) -> Interval:
    """``mean(a) - mean(b)``; ``paired`` where both list the same seeds in order.

    ``images`` (m,) is, at each image, the share of ``a``'s seeds that have it right minus that of
    ``b``'s: then the interval covers other images too, not other seeds alone.
    """
    x, y = (np.asarray(values, dtype=float) for values in (a, b))
    if paired and len(x) != len(y):
        raise ValueError(f"paired samples must have the same length, not {[len(x), len(y)]}")
    if paired:
        return interval(x - y, images=images, level=level)
    n = min(len(x), len(y))
    estimate = float(x.mean() - y.mean()) if n else math.nan
    sources = [of_mean(values) for values in (x, y)] if n > 1 else []
    sources += [] if images is None else [of_images(images)]
    return around(estimate, sources, n, level)


def ratio(a: Numbers, b: Numbers) -> Interval:
    """The geometric mean of ``a / b``, positive numbers paired by seed; 0 or infinite by a 0."""
    with np.errstate(divide="ignore"):
        found = interval(np.log(np.asarray(a, float)) - np.log(np.asarray(b, float)))
    middle, low, high = map(math.exp, (found.estimate, found.low, found.high))
    return Interval(middle, low, high, found.n, found.degrees)


# --- counts ---------------------------------------------------------------------------------------


def share(k: int, n: int) -> Interval:
    """``k`` of ``n`` runs, by Clopper and Pearson: 5 of 5 is from 0.478, 6 of 6 from 0.541."""
    from scipy import special

    if n < ENOUGH_SEEDS:
        return Interval(k / n if n else math.nan, math.nan, math.nan, n)
    tail = (1 - LEVEL) / 2
    low = special.betaincinv(k, n - k + 1, tail) if k else 0.0
    high = special.betaincinv(k + 1, n - k, 1 - tail) if k < n else 1.0
    return Interval(k / n, float(low), float(high), n)


def sign_test(values: Numbers, bound: float) -> tuple[int, int, float]:
    """(how many values lie above ``bound``, how many below; the two-sided p).

    Values on the bound are left out. Five values cannot reach 0.05, six on one side have 0.031.
    """
    known = np.asarray(values, dtype=float)
    above, below = int((known > bound).sum()), int((known < bound).sum())
    n, fewer = above + below, min(above, below)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return above, below, min(1.0, 2 * tail)


# --- medians on a grid of steps -------------------------------------------------------------------


def bootstrap(
    compute: Callable[..., np.ndarray],
    *samples: Numbers,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Interval:
    """The interval of ``compute(*samples)``, the seeds of each resampled with replacement.

    ``compute`` takes an array per sample and reduces its last axis, the seeds; a sample (..., n)
    comes resampled as (..., resamples, n), and one value per resample is to come back. A resample
    whose value is undefined (infinity over infinity) counts as anything: it widens the interval at
    both ends. Like any percentile interval it takes ratios and infinities as they are; that of a
    ratio of medians covers 95 % from 5 seeds on, that of a mean does not.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    sizes = [array.shape[-1] for array in arrays]
    n = min(sizes)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = float(compute(*arrays))
        if n < ENOUGH_SEEDS:
            return Interval(estimate, math.nan, math.nan, n)
        draws = [draw(size, resamples, seed + i) for i, size in enumerate(sizes)]
        values = compute(*(a[..., d] for a, d in zip(arrays, draws, strict=True)))
    low, high = ends(values, (1 - level) / 2)
    return Interval(estimate, float(low), float(high), n)


def draw(size: int, resamples: int, seed: int) -> np.ndarray:
    """Which seeds each resample has: (resamples, size)."""
    return np.random.default_rng(seed).integers(size, size=(resamples, size))


def ends(values: np.ndarray, tail: float = (1 - LEVEL) / 2) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the interval, of resampled values (..., resamples): ``tail`` left out at each."""
    undefined, cut = np.isnan(values), int(tail * values.shape[-1])
    # By sorting, since interpolated quantiles of infinities are NaN.
    low = np.sort(np.where(undefined, -np.inf, values), axis=-1)[..., cut]
    high = np.sort(np.where(undefined, np.inf, values), axis=-1)[..., -1 - cut]
    return low, high
