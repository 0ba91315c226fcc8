"""Higher learning rates, and less care about initial weights (abstract; sec. 1, 3.3): a grid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from bn_repro.analysis import grids
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.rules import Above, SignTest
from bn_repro.analysis.studies.fig1 import answers
from bn_repro.analysis.studies.learning_rate_and_init_figures import figures
from bn_repro.analysis.studies.learning_rate_and_init_report import values
from bn_repro.analysis.studies.learning_rate_and_init_runs import (
    TARGETS,
    TRAINS,
    USUAL_STD,
    alike,
    cells,
    compared,
    finals,
    fine,
    highest,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

GOOD = (
    f"Good is a test accuracy within {100 * grids.GOOD:g} point of the best there, without a gap. "
    f"With BN over without. {q.AT_CHANCE}; the grid is the resolution, and its ends are limits"
)


def claims(runs: Runs) -> Iterator[Claim]:
    """The abstract's two promises, each as a rule fixed before the runs."""
    both = alike([cells(runs, arm) for arm in MNIST_ARMS])
    for target in TARGETS:
        percent = f"{100 * target:g}"
        more, fewer = compared([of.test for of in both], partial(_share, target=target))
        words = f"The share of the grid's runs whose test accuracy at the last step is {percent} %"
        yield Claim(
            f"trains_to_{percent}_difference",
            f"BN trains to {percent} % over more of the grid of rates and initial scales.",
            "abstract; 3.3",
            q.difference(more, fewer, f"{words} or more, with BN minus without. {q.AT_CHANCE}"),
            Above(),
            depends_on="the grid",
        )
    yield _ratio(
        "good_rates_ratio",
        "BN trains well over a wider range of learning rates, each at the initial scale of its "
        "best cell.",
        "abstract; 3.3",
        "At the initial scale of each arm's best cell on held-out images: the highest good rate "
        f"over the lowest. {GOOD}",
        compared([of.through_best(0) for of in both], grids.span),
    )
    yield _ratio(
        "good_scales_ratio",
        "BN depends less on the scale of the initial weights.",
        "abstract; 1",
        "At the rate of each arm's best cell on held-out images: the largest good standard "
        f"deviation of the initial weights over the smallest. {GOOD}",
        compared([of.through_best(1) for of in both], grids.span),
    )
    yield _ratio(
        "highest_rate_ratio",
        "With BN the highest rate that still trains is higher.",
        "abstract; 3.3",
        f"At the initial scale of Figure 1, {USUAL_STD:g}: the highest rate of the grid with a "
        f"test accuracy of at least {100 * TRAINS:g} %, with BN over without. {q.AT_CHANCE}; the "
        "grid's highest rate is a limit",
        compared([of.usual() for of in both], highest),
    )
    yield _ratio(
        "fine_good_rates_ratio",
        "From the initial scale of Figure 1, BN trains well over a wider range of learning rates, "
        "each about 1.25 times the last.",
        "abstract; 3.3",
        f"At the initial scale {USUAL_STD:g}, over rates from 0.1 to 31.5 of which each is about "
        f"1.25 times the one before: the highest good rate over the lowest. {GOOD}",
        compared([fine(runs, arm) for arm in MNIST_ARMS], grids.span),
        "the grid, the margin of one point, the rule on gaps",
    )
    final = runs.where(block="final")
    without, with_bn = (finals(runs, arm) for arm in MNIST_ARMS)
    yield Claim(
        "final_accuracy_difference",
        "Each at its own best cell of the grid, BN ends with the higher test accuracy.",
        "4.1",
        q.higher_at_the_end(with_bn, without, (BN.label, BASELINE.label), answers(final)),
        Above(),
    )


def _share(grid: Grid, target: float) -> np.ndarray:
    return (grid.values >= target).mean((0, 1))


def _ratio(
    id: str,
    sentence: str,
    section: str,
    words: str,
    found: list[pd.Series],
    depends_on: str = "the grid",
) -> Claim:
    wider = q.discrete(found[0], found[1], words)
    return Claim(id, sentence, section, wider, SignTest(1.0), depends_on=depends_on)


STUDY = Study("learning_rate_and_init.md.j2", figures, claims, values=values, targets=TARGETS)
