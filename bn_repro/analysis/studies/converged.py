"""Figures 2 and 3 (sec. 4.2.2), asked where Inception has converged: on digits and photographs.

Blocks: ``networks`` are Figure 3's rows, ``failures`` what the paper reports to fail, ``sigmoid
control`` BN and sigmoid at Inception's own settings, ``a fifth`` Inception at a fifth of its rate,
``rest`` Inception twice as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from bn_repro import paper
from bn_repro.analysis import frames, gates
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.rules import Above, SignTest
from bn_repro.analysis.studies import fig3, fig3_failures, inception
from bn_repro.analysis.studies.fig3_failures import FAIL, SIGMOID, failed
from bn_repro.analysis.studies.inception import (
    BN_BASELINE,
    BN_SIGMOID,
    BN_X5,
    BN_X30,
    INCEPTION,
    NETWORKS,
)
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import KEY, Runs
from bn_repro.records.paths import monitored_split

BLOCKS = ("networks", "failures", "sigmoid control", "a fifth", "rest")
X5 = fig3_failures.X5.with_(label="Inception-x5")
CONTROL = BN_BASELINE.with_(
    label="BN-Baseline-Sigmoid",
    keys={"experiment": BN_BASELINE.keys["experiment"], "block": "sigmoid control"},
)
LONGER = INCEPTION.with_(label="Inception, twice as long", keys={"block": "rest"})
FIFTH = fig3_failures.X5_SMALL.with_(label="Inception-x0.2", keys={"block": "a fifth"})
"""Inception at a fifth of its rate."""


def _of(block: str, *arms: Arm) -> tuple[Arm, ...]:
    return tuple(arm.with_(keys={**arm.keys, "block": block}) for arm in arms)


TRAINING = (*_of("networks", INCEPTION, BN_SIGMOID), CONTROL)
"""What stands beside the failures."""
ARMS = (*_of("networks", *NETWORKS), X5, SIGMOID, CONTROL, FIFTH, LONGER)


def networks(runs: Runs) -> Runs:
    """The runs of Figure 3's rows."""
    return runs.where(block="networks")


def on_the_same_images(runs: Runs) -> Runs:
    """The runs without the evaluation at the last step, which is on other images than the others.

    For scales with ``data.eval_limit``: a maximum over time, and a first crossing, are of numbers
    on the same images. What diverged has no such evaluation, and what recorded as many answers
    at its best evaluation as at its last had all on the same images.
    """
    if runs.runs.empty:
        return runs
    completed = runs.runs.loc[runs.runs["state"] == "completed"]
    ends = completed.set_index(KEY)["step"].drop(_on_all(runs), errors="ignore")
    curves = runs.curves
    mine = ends.reindex(pd.MultiIndex.from_frame(curves.loc[:, KEY])).to_numpy(float)
    followed = (curves["split"] == monitored_split(set(curves["split"]))).to_numpy(bool)
    moving = (curves["statistics"] == "moving").to_numpy(bool)
    last = curves["step"].to_numpy(float) == mine
    kept = curves.loc[~(last & followed & moving)]
    points = frames.select(curves.loc[followed & moving & ~last], metric="top1")
    points = points.dropna(subset="value").sort_values(["value", "step"], ascending=[False, True])
    best = points.drop_duplicates(KEY).set_index(KEY)
    own = best.reindex(pd.MultiIndex.from_frame(runs.runs.loc[:, KEY]))
    columns = {"best_top1": own["value"].to_numpy(float), "best_step": own["step"].to_numpy(float)}
    return replace(runs, runs=runs.runs.assign(**columns), curves=kept)


def _on_all(runs: Runs) -> list[tuple[str, str, int]]:
    """The runs whose best evaluation was on as many images as their last."""
    rows = runs.correct.to_dict("records")
    return [
        (row["experiment"], row["id"], row["seed"])
        for row in rows
        if np.unpackbits(row["best_seen"]).sum() == np.unpackbits(row["last_seen"]).sum()
    ]


# --- gates and claims, written before the runs ----------------------------------------------------


def has_converged(runs: Runs) -> Gate:
    """That Inception has converged, by its maximum accuracy: what targets and maxima are made of.

    A maximum over twice as many evaluations is a little higher by chance, so the gate is strict.
    """
    best = runs.best(missing=runs.chance)
    usual, longer = best.where(block="networks", **INCEPTION.keys), LONGER.of(best)
    return gates.converged(usual.by_seed(), longer.by_seed(), runs.chance, INCEPTION.label)


def claims(runs: Runs) -> Iterator[Claim]:
    """The claims of section 4.2.2, in the paper's order."""
    main, rest = networks(runs), has_converged(runs)
    for claim in (*fig3.speeds(main), *maxima(main), late_maximum(main)):
        yield replace(claim, gates=[rest, *claim.gates])
    yield from failures(runs)


def maxima(main: Runs) -> Iterator[Claim]:
    """Who becomes more accurate than whom."""
    alone = "BN alone (BN-Baseline) reaches a higher accuracy than Inception."
    depends_on = "the rate, the initial weights, the length"
    yield inception.higher(main, BN_BASELINE, INCEPTION, alone, depends_on)
    sentence = "BN-x5 reaches a higher accuracy than Inception."
    yield inception.higher(main, BN_X5, INCEPTION, sentence)
    yield from fig3.maxima(main)
    sentence = "BN-x5-Sigmoid stays below BN-x5."
    yield inception.higher(main, BN_X5, BN_SIGMOID, sentence, "taking maxima over time")


def late_maximum(main: Runs) -> Claim:
    """That BN-x30 goes on rising for longer than BN-x5."""
    late, early = (
        pd.Series(rows["best_step"].to_numpy(float), rows["seed"].to_numpy())
        for rows in (arm.of(main).runs for arm in (BN_X30, BN_X5))
    )
    words = "Step of the highest accuracy (of equal ones the first), BN-x30's over BN-x5's"
    return Claim(
        "bn_x30_later_maximum_ratio",
        "BN-x30 reaches its highest accuracy later than BN-x5.",
        "4.2.2",
        q.discrete(late, early, words),
        SignTest(),
        "BN-x30 after 6M steps; BN-x5 not given",
        depends_on="the length, the decay of the rate",
    )


def failures(runs: Runs) -> Iterator[Claim]:
    """What does not train without BN, and does with it."""
    main = networks(runs)
    own = f"{INCEPTION.label} at its own rate"
    yield Claim(
        "inception_x5_failed",
        "Without BN, Inception fails at 5 times its rate.",
        "4.2.2",
        q.failures(failed(runs, X5), FAIL),
        Above(0.5),
        "machine infinity",
        gates=[gates.trains(failed(main, INCEPTION), own)],
        depends_on="the rate: 5 times the best one, which favours the claim",
    )
    yield Claim(
        "inception_sigmoid_failed",
        "Without BN the network with sigmoids never gets beyond chance.",
        "4.2.2",
        q.failures(failed(runs, SIGMOID), FAIL),
        Above(0.5),
        "never above chance, 0.1 %",
        gates=[gates.trains(failed(runs, CONTROL), f"{own} with BN and sigmoids")],
        depends_on="the rate, the initial weights",
    )
    trained = [not bad for bad in failed(main, BN_SIGMOID)]
    words = "Share of the runs that train: whose loss stays finite, and whose accuracy exceeds "
    yield Claim(
        "bn_x5_sigmoid_trained",
        "With BN the network trains with sigmoids too.",
        "4.2.2",
        q.failures(trained, words + "twice chance"),
        Above(0.5),
        f"{paper.percent(inception.printed(BN_SIGMOID).max_top1)}, where chance is 0.1 %",
    )


def not_asked(id: str, sentence: str, section: str, printed: str, gate: Gate) -> Claim:
    """A claim that this study's images cannot test, with the reason."""
    quantity = q.Quantity("Nothing was computed", q.NOTHING, "points")
    return Claim(id, sentence, section, quantity, Above(), printed, gates=[gate])
