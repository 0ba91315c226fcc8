"""Figure 3 as a table: here, and in the paper."""

from __future__ import annotations

import numpy as np

from bn_repro import paper
from bn_repro.analysis import steps_to
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import percent
from bn_repro.analysis.speed import ITSELF
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.inception import INCEPTION, NETWORKS
from bn_repro.analysis.tables import Runs


def figure3_table(runs: Runs, share: float = ITSELF) -> list[list[str]]:
    """Figure 3's rows beside the paper's, a head first."""
    target, last = inception.target_at(runs, share), runs.last_step
    few = len(INCEPTION.of(runs).runs) < ENOUGH_SEEDS
    steps_here = f"steps to {100 * target:.1f} %: median ({'every seed' if few else 'range'})"
    rows = [["network", steps_here, "paper: to 72.2 %", "times fewer than Inception", "paper"]]
    rows[0] += [f"maximum: mean {'(every seed)' if few else '[95 % interval]'}", "paper"]
    for arm in NETWORKS:
        printed, wide = inception.printed(arm), inception.curves(runs, arm)
        here = fewer = "-"
        if wide.size:
            steps = steps_to.at(wide, target)
            shown = np.sort(steps) if few else [steps.min(), steps.max()]
            one = (", " if few else " to ").join(steps_to.shown(s, last) for s in shown)
            here = steps_to.shown(float(np.median(steps)), last)
            here += f" ({one})" if few or steps.min() < steps.max() else ""
            if arm is not INCEPTION:
                fewer = str(inception.race(runs, INCEPTION, arm).factor(share))
                fewer = fewer.replace(f" of {arm.label}", "").replace(" x", "")
        factor = None if arm is INCEPTION else inception.printed_factor(arm)
        rows.append(
            [
                *(arm.label, here, paper.steps(arm.keys["experiment"].removeprefix("imagenet/"))),
                *(fewer, "-" if factor is None else f"{factor:.1f}"),
                *(percent(inception.best(runs, arm)), paper.percent(printed.max_top1)),
            ]
        )
    return rows
