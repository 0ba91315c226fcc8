"""Figure 1a made fair: each arm at its own best learning rate of one grid (sec. 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import grids, steps_to
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, AtEach, SignTest
from bn_repro.analysis.speed import HEADLINE
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.studies.fig1_rates_figures import figures
from bn_repro.analysis.studies.fig1_rates_runs import (
    by_rate,
    early,
    early_runs,
    final_rate,
    finals,
    gaps,
    grid,
    leads,
    race_of,
    target_of,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """What remains of Figure 1(a) at each arm's own best rate."""
    (without, with_bn), where = finals(runs), "4.1, Figure 1(a)"
    (first_without, first_with), (low, high) = early(runs), by_rate(runs)
    answers = fig1.answers(runs.where(block="final"))
    yield Claim(
        "final_accuracy_difference",
        "Each at its own best rate, BN ends with the higher test accuracy.",
        where,
        q.higher_at_the_end(with_bn, without, fig1.NAMES, answers),
        Above(),
    )
    yield Claim(
        "ahead_at_each_step_difference",
        f"Each at its own best rate, BN is ahead at each evaluated step{_first(runs)}.",
        where,
        q.ahead_at_each(
            first_with, first_without, fig1.NAMES, images=fig1.last_answers(early_runs(runs))
        ),
        AtEach("step"),
    )
    yield Claim(
        "ahead_at_each_rate_difference",
        "At every rate of the grid BN ends with the higher accuracy.",
        f"{where}; 3.3",
        q.ahead_at_each(high, low, fig1.NAMES, "rate, on held-out images at the last step"),
        AtEach("rate"),
        depends_on="the grid of rates",
    )
    race = race_of(runs)
    yield Claim(
        "steps_to_baseline_best_ratio",
        "Each at its own best rate, BN needs fewer steps to the accuracy of the baseline.",
        f"{where}; 1",
        race.quantity(beside=race_of(runs, block="final")),
        Above(1.0),
        gates=[race.gate()],
        depends_on="the target",
    )
    yield Claim(
        "good_rates_ratio",
        "BN trains well over a wider range of learning rates, at initial scale 0.1.",
        "3.3",
        _wider(*(grid(runs, arm) for arm in MNIST_ARMS)),
        SignTest(1.0),
        depends_on="the grid of rates, at whose end BN's may still be good",
    )


def _first(runs: Runs) -> str:
    """`` of the first 6,000``, where seeds of their own train these alone."""
    many = runs.where(block="early")
    return f" of the first {many.last_step:,.0f}" if len(many.runs) else ""


def _wider(without: Grid | None, with_bn: Grid | None) -> Quantity:
    words = (
        "Good rates are those around an arm's best, without a gap, whose accuracy on held-out "
        "images is within one point of it. Highest over lowest with BN, over the same without BN"
    )
    if without is None or with_bn is None or without.seeds != with_bn.seeds:
        return Quantity(words, q.NOTHING, "x")
    above, below = (pd.Series(grids.span(g), g.seeds, float) for g in (with_bn, without))
    return q.discrete(above, below, words)


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    lead, (first_without, first_with) = leads(early_runs(runs)), early(runs)
    tried = {arm.label: grid(runs, arm) for arm in MNIST_ARMS}
    target, arms = target_of(finals(runs)[0]), []
    for arm, wide in zip(MNIST_ARMS, finals(runs), strict=True):
        if wide.size:
            steps = steps_to.median_steps(steps_to.by_row(wide, target))
            shown = {"label": arm.label, "rate": final_rate(runs, arm), "final": wide.iloc[:, -1]}
            arms.append(shown | {"steps": steps_to.shown(steps, wide.columns[-1])})
    near = [point for point in race_of(runs).curve() if point.share <= HEADLINE]
    far = [point for point in race_of(runs, block="final").curve() if point.share > HEADLINE]
    return {
        "arms": arms,
        "target": target,
        "curve": near + far,
        "many": len(runs.where(block="early").runs) > 0,
        "lead": lead,
        "not_ahead": [step for step, found in lead.items() if not found.low > 0],
        "final_lead": (final_lead := leads(runs.where(block="final"))),
        "final_ahead": sum(found.low > 0 for found in final_lead.values()),
        "in_every_seed": int((first_with > first_without).all().sum()),
        "gaps": gaps(runs),
        "grids": {label: (found, grids.good(found)) for label, found in tried.items() if found},
    }


STUDY = Study("fig1_rates.md.j2", figures, claims, values=values, targets=(0.9, 0.95, 0.97))
