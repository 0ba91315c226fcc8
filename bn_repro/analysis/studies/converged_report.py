"""Figures 2 and 3 after convergence: the figures, what the templates show, the study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bn_repro.analysis import panels, steps_to, style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.speed import HEADLINE
from bn_repro.analysis.studies import (
    converged,
    fig3_failures,
    fig3_failures_figures,
    fig3_figures,
    inception,
)
from bn_repro.analysis.studies.fig3_failures import SIGMOID
from bn_repro.analysis.studies.fig3_tables import figure3_table
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5, BN_X30, INCEPTION, NETWORKS
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

FAILURES = (converged.X5, SIGMOID)
FASTER = (BN_BASELINE, BN_X5, BN_X30)
EARLIER = 0.8
"""A share of Inception's best that shows the speed of a network which does not reach more."""


# --- figures --------------------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure2`` and ``figure3`` as in the paper, the curve over targets, and the failures."""
    main, usual, drawn = converged.networks(runs), _usual(runs), dict[str, Figure]()
    with style.context():
        if len(main.runs):
            drawn["figure2"] = fig3_figures.figure2(main, HEADLINE)
            drawn["figure3"] = fig3_figures.figure3(main, HEADLINE)
            drawn["figure_targets"] = figure_targets(main)
        if len(usual.runs):
            drawn["figure_failures"] = fig3_failures_figures.figure(
                usual, FAILURES, converged.TRAINING
            )
    return drawn


def _usual(runs: Runs) -> Runs:
    """All runs of the usual length."""
    return runs.where(block=[name for name in converged.BLOCKS if name != "rest"])


def figure_targets(main: Runs) -> Figure:
    """How many times fewer steps than Inception, over targets: a panel a network."""
    figure = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
    axes = figure.subplots(1, len(FASTER), sharey=True)
    for ax, arm in zip(axes, FASTER, strict=True):
        panels.speed_up(ax, inception.race(main, INCEPTION, arm), arm).set_title(arm.label)
    axes[0].set_ylabel("times fewer steps (log scale)")
    style.ticks(axes[0].yaxis, [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "{x:g}x")
    style.letters(axes)
    return figure


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the templates show besides the claims."""
    main, (own, sigmoid, _) = converged.networks(runs), converged.TRAINING
    known = [arm for arm in NETWORKS if len(arm.of(main).runs)]
    target = inception.target_at(main, HEADLINE)
    table = figure3_table(main, HEADLINE) if math.isfinite(target) else []
    planned = [arm for arm in converged.ARMS if runs.planned(**arm.keys)]
    return {
        "missing": inception.missing(runs, planned),
        "best": {arm.label: inception.best(main, arm) for arm in known},
        "printed": {arm.label: inception.printed(arm).max_top1 for arm in NETWORKS},
        "fewer": {arm.label: _fewer(main, arm) for arm in FASTER} if table else {},
        "target": None if math.isnan(target) else target,
        "grid": inception.evaluation_grid(main),
        "table": table,
        "fitted": {arm.label: values for arm in known if len(values := _fitted(arm.of(main)))},
        "earlier": _earlier(main) if table else None,
        "longer": _longer(runs),
        "at_best": {arm.label: arm.of(main).runs["best_step"].dropna().tolist() for arm in known},
        "rest": converged.has_converged(runs),
        "rates": fig3_failures.happened_table(runs, [converged.FIFTH, own, converged.X5]),
        "sigmoids": fig3_failures.happened_table(runs, [SIGMOID, converged.CONTROL, sigmoid]),
    }


def _fewer(main: Runs, arm: Arm, share: float = HEADLINE) -> str:
    """How many times fewer steps than Inception, without what stands beside."""
    found = str(inception.race(main, INCEPTION, arm).factor(share))
    return found.replace(f" of {arm.label}", "").replace(" x", " times")


def _earlier(main: Runs) -> str | None:
    """How many times fewer steps BN alone needs to a lower target; None where not clearly fewer."""
    faster = inception.race(main, INCEPTION, BN_BASELINE).fewer(EARLIER).low > 1
    return _fewer(main, BN_BASELINE, EARLIER) if faster else None


def _longer(runs: Runs) -> dict[str, Any]:
    """Inception twice as long: its best, its fit, and who reaches the target that it sets."""
    main, longer = converged.networks(runs), converged.LONGER
    if longer.of(runs).runs.empty or INCEPTION.of(main).runs.empty:
        return {}
    target, alone = inception.target_at(runs, HEADLINE, longer), inception.curves(main, BN_BASELINE)
    return {
        "best": inception.best(runs, longer),
        "fit": _fitted(longer.of(runs)),
        "target": target,
        "reached": int(np.isfinite(steps_to.at(alone, target)).sum()) if len(alone) else 0,
        "of": len(alone),
    }


def _fitted(runs: Runs) -> np.ndarray:
    """Each seed's accuracy on its training mini-batches, the mean of the last tenth of a run."""
    wide = runs.curve(split="train", statistics="batch", metric="top1")
    steps = wide.columns.to_numpy(float)
    late = wide.loc[:, steps > 0.9 * steps.max(initial=0.0)].dropna(how="all")
    return late.mean(axis=1).to_numpy(float)


def study(
    prose: str, claims: Callable[[Runs], Iterable[Claim]], cut: Callable[[Runs], Runs] = lambda r: r
) -> Study:
    """A study of this kind; ``cut`` leaves evaluations that can be compared."""
    return Study(
        prose=prose,
        claims=lambda runs: claims(cut(runs)),
        figures=lambda runs: figures(cut(runs)),
        values=lambda runs: values(cut(runs)),
    )
