"""What the studies of section 4.2's Inceptions share: networks as arms, quantities, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bn_repro import paper
from bn_repro.analysis import frames, steps_to
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import count
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above
from bn_repro.analysis.speed import ITSELF, Race
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs
from bn_repro.records import paths


def network(label: str, name: str, *look: object, std: float | None = None) -> Arm:
    """A network of section 4.2.2; ``std`` where its first weights are small Gaussians, not He's."""
    return Arm(label, *look, {"experiment": f"imagenet/{name}", "init_std": std})  # pyright: ignore


INCEPTION = network("Inception", "inception", "#e6912e", (0, (4.5, 1.4)), "s")
BN_BASELINE = network("BN-Baseline", "bn_baseline", "#56a3dc", "-", "^")
BN_X5 = network("BN-x5", "bn_x5", "#0b4a8f", "-", "o")
BN_X30 = network("BN-x30", "bn_x30", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D")
BN_SIGMOID = network("BN-x5-Sigmoid", "bn_x5_sigmoid", "#4a9a5c", (0, (1.2, 1.1)), "v")
INCEPTION_X5 = network("Inception-x5", "inception_x5", "#e6912e", (0, (4.5, 1.4)), "s")
BN_BASELINE_X5 = network("BN-Baseline-x5", "bn_baseline_x5", "#56a3dc", "-", "^")
"""The paper has Inception at this rate, and no BN-Baseline."""
NETWORKS = (INCEPTION, BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID)
"""Figure 3's rows, in its order."""


def printed(arm: Arm) -> paper.Network:
    """The network's row in the paper's Figure 3."""
    return paper.FIGURE3[arm.keys["experiment"]]


def printed_factor(arm: Arm) -> float | None:
    """How many times fewer steps than Inception, by the paper's Figure 3; None: never."""
    slow, fast = (printed(a).steps_to_target for a in (INCEPTION, arm))
    return slow / fast if slow and fast else None


def curves(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Single-crop accuracy, monitored split, seed by step; a diverged run counts as chance."""
    return arm.of(runs).curve(diverged=runs.chance)


def best(runs: Runs, arm: Arm) -> np.ndarray:
    """Each seed's maximum accuracy; chance where a run diverged before its first evaluation."""
    return arm.of(runs.best(missing=runs.chance)).array


def target_of(runs: Runs, arm: Arm) -> float:
    """The accuracy to count steps to: the best of the arm's typical run; NaN without one."""
    values = best(runs, arm)
    if not len(values):
        return math.nan
    # Down to 4 decimals, as the name of its column in runs.csv has it; rows are rounded to 6.
    return math.floor(1e4 * round(float(steps_to.typical_best(values)), 6) + 1e-6) / 1e4


def target_at(runs: Runs, share: float, arm: Arm = INCEPTION) -> float:
    """The accuracy at a share of the arm's typical best above chance; NaN without a run."""
    best = target_of(runs, arm)
    return best if share == ITSELF else runs.chance + share * (best - runs.chance)


def evaluation_grid(runs: Runs) -> float:
    """The distance of evaluations, in steps: the resolution of any number of steps."""
    split = paths.monitored_split(set(runs.curves["split"]))
    steps = sorted(set(frames.select(runs.curves, split=split)["step"].tolist()))
    return float(np.median(np.diff([0, *steps]))) if steps else math.nan


def race(runs: Runs, slow: Arm, fast: Arm, reference: Arm = INCEPTION) -> Race:
    """Two networks to the accuracy of a reference."""
    one, two, three = (curves(runs, arm) for arm in (slow, fast, reference))
    return Race(one, two, three, (slow.label, fast.label, reference.label), runs.chance)


def median_steps(runs: Runs, arm: Arm, target: float) -> float:
    """The median over seeds of the steps to ``target``; infinity where never, NaN without runs."""
    wide = curves(runs, arm)
    return float(np.median(steps_to.at(wide, target))) if wide.size else math.nan


def maximum_gap(runs: Runs, higher: Arm, lower: Arm) -> Quantity:
    """The maximum accuracy of ``higher`` minus that of ``lower``, in points."""
    words = f"{q.MAXIMUM}, single crop, of {higher.label} minus that of {lower.label}"
    best = runs.best(missing=runs.chance)
    high, low = (arm.of(best).by_seed() for arm in (higher, lower))
    images = higher.of(runs).right("best"), lower.of(runs).right("best")
    return q.difference(high, low, words, paired=False, images=images)


def bn_alone_claim(runs: Runs) -> Claim:
    """What the paper says of BN and nothing else."""
    return faster(
        runs,
        "bn_baseline_speed_up_ratio",
        "BN alone (BN-Baseline) reaches Inception's accuracy in fewer than half of the steps.",
        (INCEPTION, BN_BASELINE),
        2.0,
        depends_on="the target, the rate, the initial weights, the length",
    )


def faster(
    runs: Runs,
    id: str,
    sentence: str,
    arms: tuple[Arm, Arm],
    times: float,
    *,
    stated: float | None = None,
    depends_on: str = "the target",
) -> Claim:
    """That the second network needs so many times fewer steps than the first, beside Figure 3."""
    found = race(runs, *arms)
    names = [arm.keys["experiment"].removeprefix("imagenet/") for arm in arms]
    return Claim(
        id,
        sentence,
        "4.2.2, Figures 2 and 3",
        found.quantity(),
        Above(times),
        paper.fewer_steps(*names, stated=stated),
        effect=paper.times_fewer(*names),
        gates=[found.gate()],
        depends_on=depends_on,
    )


def higher(runs: Runs, high: Arm, low: Arm, sentence: str, depends_on: str = "") -> Claim:
    """That the first network's maximum is above the second's, beside Figure 3."""
    a, b = (arm.keys["experiment"].removeprefix("imagenet/") for arm in (high, low))
    return Claim(
        f"{a}_over_{b}_maximum_difference",
        sentence,
        "4.2.2, Figure 3",
        maximum_gap(runs, high, low),
        Above(),
        paper.higher(a, b),
        effect=paper.gap(a, b),
        depends_on=depends_on,
    )


def missing(runs: Runs, arms: Iterable[Arm]) -> list[str]:
    """The arms that lack planned runs: ``BN-x30 (2 of 3 runs)``."""
    counts = [(arm, len(arm.of(runs).runs), len(runs.planned(**arm.keys))) for arm in arms]
    return [
        f"{arm.label} ({here} of {count(planned, 'run')})"
        for arm, here, planned in counts
        if here < planned
    ]


def pair(runs: Runs, bn: Arm, plain: Arm) -> dict[str, Any]:
    """With BN and without, all else the same: the maxima, and the steps to the best without."""
    if any(arm.of(runs).runs.empty for arm in (bn, plain)):
        return {}
    target = target_of(runs, plain)
    steps = [median_steps(runs, arm, target) for arm in (bn, plain)]
    return {
        "best": [best(runs, arm) for arm in (bn, plain)],
        "gap": maximum_gap(runs, bn, plain),
        "target": target,
        "steps": [steps_to.shown(s, runs.last_step) for s in steps],
        "fewer": race(runs, plain, bn, plain).fewer(ITSELF) if np.isfinite(steps[0]) else None,
    }
