"""The norms beside BN: each claim shown to hold and not to hold, from made-up rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import norms, norms_runs
from bn_repro.analysis.studies.norms_runs import BN, NORMS
from bn_repro.analysis.tables import CURVE_COLUMNS, RUN_COLUMNS, TRACE_COLUMNS, Member, Runs

RATES = {"MNIST": (0.3, 3.0, 10.0), "Inception": (0.02, 0.08, 0.32)}
EXPERIMENTS = {"MNIST": "mnist/baseline", "Inception": "imagenet/inception"}
STEPS = [*range(20, 400, 20), *range(400, 2_001, 100)]
Made = dict[str, tuple[float, float]]
"""By norm: the accuracy that its final runs rise to, and the step at which they are there."""
AHEAD: Made = {arm.label: (0.95, 1_500.0) for arm in NORMS} | {"BN": (0.97, 700)}


def made(mnist: Made = AHEAD, inception: Made = AHEAD, fails_at: float = 10.0) -> Runs:
    """Rows of the whole study; without a norm every run fails at ``fails_at``."""
    runs, curves, members = [], [], list[Member]()
    for (network, experiment), how in zip(EXPERIMENTS.items(), (mnist, inception), strict=True):
        for k, arm in enumerate(NORMS):
            if arm.label not in how:
                continue
            top, there = how[arm.label]
            settings = [("rates", rate, range(3)) for rate in RATES[network]]
            for kind, rate, some in [
                *settings,
                ("final", RATES[network][1], range(10, 20)),
            ]:
                fails = arm.label == "none" and rate == fails_at
                reached = 0.1 if fails else top - 0.01 * (rate != RATES[network][1])
                id = f"{kind[0]}{network[0]}{k}{rate:g}"
                varied = {"model.norm": arm.keys["model.norm"], "optimizer.lr": rate}
                for seed in some:
                    noise = 0.001 * np.random.default_rng([k, seed]).standard_normal()
                    rise = np.minimum(np.array(STEPS) / there, 1)
                    values = 0.1 + (reached + noise * (not fails) - 0.1) * rise
                    row: dict[str, Any] = dict.fromkeys(RUN_COLUMNS, "")
                    row |= {"experiment": experiment, "id": id}
                    row |= {"seed": seed, "state": "completed", "step": STEPS[-1]}
                    row |= {"final_top1": values[-1], "best_top1": values.max()}
                    row |= {"classes": 10, "blocks": f"{network} {kind}", "seconds": 1.0, **varied}
                    runs.append(row)
                    split = "val" if kind == "rates" else "test"
                    curves += [
                        (experiment, id, seed, step, split, "moving", "top1", value)
                        for step, value in zip(STEPS, values, strict=True)
                    ]
                    members.append(Member(experiment, id, seed, varied, None, row["blocks"]))
    frame = pd.DataFrame(curves, columns=CURVE_COLUMNS)
    return Runs("norms", members, pd.DataFrame(runs), frame, pd.DataFrame(columns=TRACE_COLUMNS))


def claims_of(runs: Runs) -> dict[str, Claim]:
    return {claim.id: claim for claim in norms.claims(runs)}


def test_bn_ahead_of_each_holds_and_one_norm_that_is_better_and_faster_refutes():
    found = claims_of(made(AHEAD, AHEAD | {"group": (0.975, 400)}))
    mnist, inception = list(found.values())[:2], list(found.values())[2:]
    assert {claim.verdict for claim in mnist} == {"holds"}
    assert {claim.verdict for claim in inception} == {"does not hold"}
    above, fewer = (claim.quantity for claim in mnist)
    assert above.interval.estimate == pytest.approx(0.02, abs=0.001)
    assert len(above.parts) == len(above.corrected) == 5
    assert above.beside.startswith("the least certain of: +2.0")
    assert fewer.interval.estimate == pytest.approx(2.2, abs=0.2)
    assert inception[0].quantity.interval.estimate < 0
    assert inception[1].quantity.interval.estimate < 1


def test_one_norm_that_is_as_good_and_a_target_that_is_soon_reached_decide_nothing():
    runs = made(AHEAD | {"layer": (0.97, 700)}, AHEAD | {"BN": (0.97, 100)})
    found = claims_of(runs)
    assert [claim.verdict for claim in found.values()] == [
        *("undecided", "undecided"),  # layer
        *("holds", "not testable"),  # BN is there within the first ten evaluations
    ]
    mnist, inception = norms.values(runs)["said"].values()
    assert mnist == (
        "BN ends higher than no norm, weight, group and instance; against layer this is undecided. "
        "BN needs fewer steps than no norm, weight, group and instance; against layer the number "
        "of steps is undecided"
    )
    against = "Against no norm, weight, layer, group and instance"
    assert inception.endswith(f"{against} the number of steps is undecided")


@pytest.mark.parametrize("gone", ["BN", "weight"])
def test_a_norm_without_runs_leaves_the_claims_not_measured(gone: str):
    left = {name: how for name, how in AHEAD.items() if name != gone}
    found = claims_of(made(left, left))
    assert {(claim.verdict, claim.n) for claim in found.values()} == {("undecided", 0)}


def test_the_accuracy_that_is_compared_is_the_last_on_mnist_and_the_maximum_of_inception():
    runs = made()
    early = runs.curves["step"] == sorted(set(runs.curves["step"]))[-2]
    runs.curves.loc[early, "value"] = 0.975
    mnist, inception = norms_runs.networks(runs)
    assert mnist.accuracy(BN).mean() == pytest.approx(0.97, abs=0.001)
    assert inception.accuracy(BN).mean() == pytest.approx(0.975, abs=0.001)


def test_the_table_has_a_row_a_norm_and_says_where_the_grid_ends():
    mnist, inception = norms.values(made())["tables"].values()
    assert [row[0] for row in mnist[1:]] == [arm.label for arm in NORMS]
    by_norm = {row[0]: row for row in mnist[1:]}
    assert by_norm["none"][1] == "3"
    assert by_norm["none"][5] == "0.3 to 3"  # it fails at 10
    assert by_norm["weight"][5] == "0.3 to 10 (highest)"
    assert by_norm["BN"][3:5] == ["-", "-"]
    assert {row[5] for row in inception[1:]} == {"0.02 to 0.32 (highest)"}
