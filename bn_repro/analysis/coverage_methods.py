"""Of :mod:`coverage`: each kind of interval for many studies at once, a row a study.

Equal, row by row, to what :mod:`intervals` and :mod:`speed` compute of one study; and the kinds
that were tried and are not used.
"""

from __future__ import annotations

import math

import numpy as np

from bn_repro.analysis import intervals
from bn_repro.analysis.intervals import SEED, draw, ends, student_quantile

RESAMPLES = 1_000
IMAGES, LEVEL = 400, 0.05
"""How many images, and the spread of a seed's own level (as a logit)."""

Ends = tuple[np.ndarray, np.ndarray]
"""Of a row of studies."""


# --- means ----------------------------------------------------------------------------------------


def student(x: np.ndarray) -> Ends:
    """Of the means of rows."""
    return around(x.mean(axis=1), [of_mean(x)])


def around(estimate: np.ndarray, sources: list[tuple[np.ndarray, int]]) -> Ends:
    """Student's interval with several sources of uncertainty, as ``intervals.around``."""
    from scipy import special

    total = np.sum([variance for variance, _ in sources], axis=0)
    with np.errstate(invalid="ignore"):  # no spread at all: no interval, and no cover
        degrees = total**2 / np.sum([v**2 / own for v, own in sources], axis=0)
    reach = special.stdtrit(degrees, 0.975) * np.sqrt(total)
    return estimate - reach, estimate + reach


def of_mean(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Of each row's mean: its variance, and the degrees of freedom."""
    return x.var(axis=1, ddof=1) / x.shape[1], x.shape[1] - 1


def resampled_means(x: np.ndarray, seed: int) -> np.ndarray:
    """(rows, resamples)."""
    n = x.shape[1]
    drawn = draw(n, RESAMPLES, seed)
    counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
    return x @ (counts.T / n)


def left_out(x: np.ndarray) -> np.ndarray:
    """The means without each seed: (rows, n)."""
    return (x.sum(axis=1, keepdims=True) - x) / (x.shape[1] - 1)


def expanded(n: int) -> float:
    """What Hesterberg's "expanded percentile" interval leaves out at each end, for n seeds.

    Phi(-sqrt(n / (n - 1)) t), t being Student's quantile (*What Teachers Should Know About the
    Bootstrap*, 2015, sec. 3.3 and 5.2): this project's interval of everything, until it was
    measured here.
    """
    from scipy import special

    return float(special.ndtr(-math.sqrt(n / (n - 1)) * student_quantile(0.975, n - 1)))


def cut(values: np.ndarray, tail: float) -> Ends:
    """The ends of values (rows, resamples) in order, as ``intervals.ends``."""
    at = int(tail * values.shape[1])
    return values[:, at], values[:, -1 - at]


def bca(values: np.ndarray, estimate: np.ndarray, without: np.ndarray) -> Ends:
    """The bias-corrected and accelerated bootstrap, of values (rows, resamples) in order."""
    from scipy import special

    n = values.shape[1]
    below = (values < estimate[:, None]).mean(axis=1)
    bias = special.ndtri(np.clip(below, 0.5 / n, 1 - 0.5 / n))
    off = without.mean(axis=1, keepdims=True) - without
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = np.nan_to_num((off**3).sum(axis=1) / (6 * (off**2).sum(axis=1) ** 1.5))
    found = []
    for z in (special.ndtri(0.025), special.ndtri(0.975)):
        share = special.ndtr(bias + (bias + z) / (1 - bend * (bias + z)))
        at = np.clip((share * n).astype(int), 0, n - 1)
        found.append(np.take_along_axis(values, at[:, None], axis=1)[:, 0])
    return found[0], found[1]


def of_one(x: np.ndarray) -> dict[str, Ends]:
    """Of the mean of one sample."""
    values = np.sort(resampled_means(x, SEED), axis=1)
    return {
        "Student": student(x),
        "bootstrap, expanded": cut(values, expanded(x.shape[1])),
        "BCa": bca(values, x.mean(axis=1), left_out(x)),
    }


def of_two(x: np.ndarray, y: np.ndarray) -> dict[str, Ends]:
    """Of the difference of two arms' means."""
    values = np.sort(resampled_means(x, SEED) - resampled_means(y, SEED + 1), axis=1)
    gap = x.mean(axis=1) - y.mean(axis=1)
    without = np.hstack([left_out(x) - y.mean(axis=1, keepdims=True)])
    without = np.hstack([without, x.mean(axis=1, keepdims=True) - left_out(y)])
    return {
        "Welch": around(gap, [of_mean(x), of_mean(y)]),
        "bootstrap, expanded": cut(values, expanded(x.shape[1])),
        "BCa": bca(values, gap, without),
    }


# --- medians of steps -----------------------------------------------------------------------------

GRID, LAST = 20.0, 1_300.0
"""Evaluations every 20 steps up to 1,300; the slow arm's median is 1,000 steps, the fast one's 500.
A spread of 30 % makes about one slow run in six miss its target."""


def steps_of(x: np.ndarray, typical: float, median: float) -> np.ndarray:
    """Steps with this median, seen on the grid, infinite where never."""
    seen = np.ceil(typical * np.exp(0.3 * (x - median)) / GRID) * GRID
    return np.where(seen > LAST, np.inf, seen)


def resampled_medians(steps: np.ndarray, seed: int) -> np.ndarray:
    """(rows, resamples): the middle of the drawn places in each row in order."""
    n = steps.shape[1]
    places = np.sort(draw(n, RESAMPLES, seed), axis=1)
    middle = places[:, (n - 1) // 2], places[:, n // 2]
    ordered = np.sort(steps, axis=1)
    return (ordered[:, middle[0]] + ordered[:, middle[1]]) / 2


def of_medians(slow: np.ndarray, fast: np.ndarray) -> dict[str, Ends]:
    """Of the ratio of two arms' medians, as ``speed.Race`` has it; and by BCa."""
    many, few = resampled_medians(slow, SEED), resampled_medians(fast, SEED + 1)
    n = slow.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        widened = (many - GRID) / few, many / (few - GRID)
        values = np.sort(np.nan_to_num(many / few, nan=1e9, posinf=1e9), axis=1)
        above, below = np.median(slow, axis=1), np.median(fast, axis=1)
        without = np.hstack([_without(slow) / below[:, None], above[:, None] / _without(fast)])
        estimate = np.nan_to_num(above / below, posinf=1e9)
    return {
        "bootstrap": (ends(widened[0])[0], ends(widened[1])[1]),
        "bootstrap, expanded": (ends(widened[0], expanded(n))[0], ends(widened[1], expanded(n))[1]),
        "BCa": bca(values, estimate, np.nan_to_num(without, posinf=1e9)),
    }


def _without(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    return np.stack([np.median(np.delete(x, i, axis=1), axis=1) for i in range(n)], axis=1)


# --- images and counts ----------------------------------------------------------------------------


def of_images(rng: np.random.Generator, rows: int, n: int) -> tuple[dict[str, Ends], float]:
    """Two arms of n seeds on the same images: the accuracy gained, on all images there could be.

    An image has its own difficulty and its own effect of the arm, a seed its own level.
    """
    logits = rng.normal(1.0, 2.0, (rows, 1, IMAGES)), rng.normal(0.3, 1.0, (rows, 1, IMAGES))
    level = rng.normal(0.0, LEVEL, (2, rows, n, 1))
    odds = (logits[0] + logits[1] + level[0], logits[0] + level[1])
    right = [rng.random(o.shape, dtype=np.float32) < 1 / (1 + np.exp(-o)) for o in odds]
    gained = right[0].mean(axis=2) - right[1].mean(axis=2)  # (rows, n)
    at_image = right[0].mean(axis=1) - right[1].mean(axis=1)  # (rows, images)
    both = [of_mean(gained), of_mean(at_image)]
    found = {
        "Student, seeds and images": around(gained.mean(axis=1), both),
        "Student, seeds alone": student(gained),
    }
    return found, _gain_on_all_images()


def _gain_on_all_images() -> float:
    """The true gain, by Gauss and Hermite: the logits of each arm are normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def accuracy(mean: float, variance: float) -> float:
        return float(weights @ (1 / (1 + np.exp(-(mean + math.sqrt(variance) * nodes)))))

    return accuracy(1.3, 4.0 + 1.0 + LEVEL**2) - accuracy(1.0, 4.0 + LEVEL**2)


def of_count(n: int) -> float:
    """Clopper and Pearson's coverage at the worst true share, exactly."""
    truth = np.linspace(0.001, 0.999, 999)
    covered = np.zeros_like(truth)
    for k in range(n + 1):
        low, high = intervals.share(k, n).low, intervals.share(k, n).high
        chance = math.comb(n, k) * truth**k * (1 - truth) ** (n - k)
        covered += np.where((low <= truth) & (truth <= high), chance, 0)
    return float(covered.min())
