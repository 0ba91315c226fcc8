"""Figures 2 and 3 (sec. 4.2.2): five Inceptions on ImageNet's photographs, and those that fail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bn_repro.analysis import quantities as q
from bn_repro.analysis import steps_to, style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.frames import shared
from bn_repro.analysis.studies import fig3_failures as failures
from bn_repro.analysis.studies import fig3_failures_figures, fig3_figures, fig3_reasons, inception
from bn_repro.analysis.studies.fig3_tables import figure3_table
from bn_repro.analysis.studies.inception import (
    BN_BASELINE,
    BN_SIGMOID,
    BN_X5,
    BN_X30,
    INCEPTION,
    NETWORKS,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

ARMS = (*NETWORKS, *failures.FAILURES, inception.BN_BASELINE_X5)


def targets(runs: Runs) -> tuple[float, ...]:
    """The accuracy to which ``runs.csv`` counts the steps: the best of the typical Inception."""
    target = inception.target_of(runs, INCEPTION)
    return () if math.isnan(target) else (target,)


def claims(runs: Runs) -> Iterator[Claim]:
    """The claims of section 4.2.2, in the paper's order."""
    yield from speeds(runs)
    yield from maxima(runs)
    yield from failures.claims(runs)


def speeds(runs: Runs) -> Iterator[Claim]:
    """How many times fewer steps the networks with BN need."""
    yield inception.bn_alone_claim(runs)
    for id, sentence, arms, times in (
        (
            "bn_x5_further_speed_up_ratio",
            "BN-x5 needs fewer steps than BN-Baseline to Inception's accuracy.",
            (BN_BASELINE, BN_X5),
            1.0,
        ),
        (
            "bn_x5_speed_up_ratio",
            "BN-x5 needs 14 times fewer steps than Inception to its accuracy.",
            (INCEPTION, BN_X5),
            14.0,
        ),
        (
            "bn_x30_slower_at_first_ratio",
            "BN-x30 needs more steps than BN-x5 to Inception's accuracy.",
            (BN_X30, BN_X5),
            1.0,
        ),
    ):
        stated = 14 if times == 14 else None
        yield inception.faster(runs, id, sentence, arms, times, stated=stated)


def maxima(runs: Runs) -> Iterator[Claim]:
    """That BN-x30 ends highest."""
    for other in (BN_X5, INCEPTION):
        sentence = f"BN-x30 reaches a higher accuracy than {other.label}."
        yield inception.higher(runs, BN_X30, other, sentence)


# --- figures --------------------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure2`` and ``figure3`` as in the paper; three more to explain them."""
    with style.context():
        drawn = {
            "figure2": fig3_figures.figure2(runs),
            "figure3": fig3_figures.figure3(runs),
            "figure_rates": fig3_reasons.figure_rates(runs),
            "figure_failures": fig3_failures_figures.figure(runs),
        }
        if not runs.traces.empty:
            drawn["figure_signals"] = fig3_reasons.figure_signals(runs)
        return drawn


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    target = inception.target_of(runs, INCEPTION)
    return {
        "missing": inception.missing(runs, (*ARMS, *failures.CONTROLS)),
        "best": {arm.label: inception.best(runs, arm) for arm in ARMS if len(arm.of(runs).runs)},
        "printed": {arm.label: inception.printed(arm).max_top1 for arm in NETWORKS},
        "target": None if math.isnan(target) else target,
        "grid": inception.evaluation_grid(runs),
        "slow": inception.median_steps(runs, INCEPTION, target),
        "fast": inception.median_steps(runs, BN_X5, target),
        "table": figure3_table(runs) if np.isfinite(target) else [],
        "one_by_one": _one_by_one(runs),
        "at_best": INCEPTION.of(runs).runs["best_step"].dropna().tolist(),
        "bounds": _bounds(runs, target),
        "ahead_from": _ahead_from(runs),
        "sigmoid": inception.maximum_gap(runs, BN_SIGMOID, BN_X5),
        "pairs": {rate: inception.pair(runs, *pair) for rate, pair in fig3_reasons.PAIRS.items()},
        "algorithm2": _algorithm2(runs),
        "happened": failures.happened_table(runs),
        "x5": inception.maximum_gap(runs, failures.X5, INCEPTION),
        "controls": [
            (fast, own, *(failures.what_happened(runs, arm) for arm in (fast, own)))
            for fast in (failures.X5_SMALL, failures.X5_LARGE)
            for own in [failures.control(fast)]
            if all(len(arm.of(runs).runs) for arm in (fast, own))
        ],
    }


def _one_by_one(runs: Runs) -> dict[str, list[float]]:
    """Times fewer steps, seed against seed, each to the best of its own Inception; 0: never."""
    plain, found = inception.curves(runs, INCEPTION), {}
    for arm in (BN_BASELINE, BN_X5, BN_X30):
        wide = inception.curves(runs, arm)
        for seed in plain.index.intersection(wide.index):
            target = float(plain.loc[seed].max())
            slow, fast = (float(steps_to.at(w.loc[[seed]], target)[0]) for w in (plain, wide))
            found.setdefault(arm.label, []).append(slow / fast)
    return found


def _bounds(runs: Runs, target: float) -> tuple[float, float] | None:
    """Where BN-Baseline never reaches the target: an upper bound of its factor over Inception, and
    a lower bound of BN-x5's over it."""
    arms = INCEPTION, BN_BASELINE, BN_X5
    slow, baseline, fast = (inception.median_steps(runs, arm, target) for arm in arms)
    known = math.isinf(baseline) and np.isfinite([slow, fast]).all()
    return (slow / runs.last_step, runs.last_step / fast) if known else None


def _ahead_from(runs: Runs) -> int | None:
    """The first step from which on the median of BN-x30 is ahead of BN-x5's; None if never."""
    fast, slow = shared(*(inception.curves(runs, arm).median() for arm in (BN_X30, BN_X5)))
    ahead = (fast > slow).to_numpy()[::-1]
    lasting = int(np.logical_and.accumulate(ahead).sum())
    return int(fast.index[len(ahead) - lasting]) if lasting else None


def _algorithm2(runs: Runs) -> np.ndarray:
    """The last accuracy by Algorithm 2's statistics minus that by moving averages, in points."""
    gaps = []
    for arm in (BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID):
        moving = q.at_the_end(inception.curves(runs, arm))
        exact = q.at_the_end(arm.of(runs).curve(split="val", statistics="population"))
        gaps += (100 * (exact - moving)).dropna().tolist()
    return np.array(gaps)


STUDY = Study("fig3.md.j2", figures, claims, values=values, targets=targets, traces=True)
