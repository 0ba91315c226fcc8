"""What BN costs a step, in time and in memory, and whether fewer steps are less time.

The claims were written before the runs (docs/log.md, 2026-11-26, "What it costs").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis import steps_to
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies.cost_figures import figures
from bn_repro.analysis.studies.cost_runs import (
    BUFFERS,
    INFERENCE,
    INFERENCE_FOLDED,
    KEPT,
    NETWORKS,
    PARAMETERS,
    STEP,
    STEP_FOLDED,
    Network,
)
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

MARGIN = 0.1
"""Inference that takes longer by up to this share counts as no longer; fixed before any run."""
MACHINE = "the machine, the library's kernels"
IN_TURN = "timed in turn within the same second or two"


def claims(runs: Runs) -> Iterator[Claim]:
    """Of each network: a step, inference, and the way to a target in seconds."""
    for network in NETWORKS:
        yield from _times(runs, network)
        for arm in network.with_bn:
            yield _sooner(runs, network, arm)


def _times(runs: Runs, network: Network) -> Iterator[Claim]:
    with_bn, without = network.called(network.bn), network.called(network.without)

    def bn(name: str) -> pd.Series:
        return network.measured(runs, network.bn, name)

    yield Claim(
        f"{network.id}_step_ratio",
        f"{network.name}: a training step takes longer with BN than with BN folded away.",
        "4.2.2, 5",
        q.factor(
            bn(STEP),
            bn(STEP_FOLDED),
            f"Seconds of a training step of {with_bn} over those of the same with BN folded "
            f"into the layers before it, {IN_TURN}",
        ),
        Above(1.0),
        depends_on=MACHINE,
    )
    yield Claim(
        f"{network.id}_folding_ratio",
        f"{network.name}: inference takes longer with BN than with BN folded into the layers "
        "before it.",
        "3.1",
        q.factor(
            bn(INFERENCE),
            bn(INFERENCE_FOLDED),
            f"Seconds of the logits of a mini-batch by {with_bn} over those of the same with BN "
            f"folded, {IN_TURN}",
        ),
        Above(1.0),
        depends_on=MACHINE,
    )
    yield Claim(
        f"{network.id}_folded_ratio",
        f"{network.name}: folded, inference takes no longer than that of the network without BN.",
        "3.1",
        q.factor(
            bn(INFERENCE_FOLDED),
            network.measured(runs, network.without, INFERENCE),
            f"Seconds of the logits of a mini-batch by {with_bn}, folded, over those of "
            f"{without} in runs of its own (up to {100 * MARGIN:g} % more counts as "
            "no longer, fixed beforehand)",
        ),
        Below(1 + MARGIN),
        depends_on=MACHINE,
    )


def _sooner(runs: Runs, network: Network, arm: Arm) -> Claim:
    race = network.race(runs, arm, seconds=True)
    slow, fast, _ = race.names
    kind = arm.keys["experiment"].partition("/")[2]
    return Claim(
        f"{network.id}_{kind}_fewer_seconds_ratio",
        f"{network.name}: in seconds too, {fast} is sooner than {slow} at the latter's accuracy.",
        "4.2.2",
        race.quantity(),
        Above(1.0),
        gates=[race.gate()],
        depends_on=f"the rate, {MACHINE}",
    )


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = [_of(runs, network) for network in NETWORKS]
    return {"networks": [one for one in found if one["step"]]}


def _of(runs: Runs, network: Network) -> dict[str, Any]:
    known = [arm for arm in network.arms if len(network.measured(runs, arm, STEP))]
    bn = network.bn
    both = bn in known and network.without in known
    return {
        "name": network.name,
        "step": network.relative(runs, bn, STEP).mean() if both else None,
        "kept": network.relative(runs, bn, KEPT).mean() if both else None,
        "costs": [HEAD, *(_cost(runs, network, arm) for arm in known)],
        "ways": _ways(runs, network) if both else [],
    }


TIMES = {STEP: STEP, INFERENCE: INFERENCE, INFERENCE_FOLDED: INFERENCE}
"""What is shown, and what it is compared with of the network without BN."""
HEAD = ["network", "training step, ms", "times", "inference, ms", "times", "folded, ms", "times"]
HEAD += ["kept for the backward pass, kB", "times", "parameters, kB", "buffers, kB"]


def _cost(runs: Runs, network: Network, arm: Arm) -> list[str]:
    """A row of the table of costs: numbers, and how many times those of the network without BN."""
    row = [arm.label]
    for name, to in TIMES.items():
        row.append(_number(1e3 * network.measured(runs, arm, name)))
        row.append(_number(network.relative(runs, arm, name, to)))
    kept, *other = (_kilobytes(network.measured(runs, arm, k)) for k in (KEPT, PARAMETERS, BUFFERS))
    return [*row, kept, _number(network.relative(runs, arm, KEPT)), *other]


def _number(values: pd.Series) -> str:
    """The mean over seeds, to three digits."""
    return f"{values.mean():#.3g}".rstrip(".") if len(values) else "-"


def _kilobytes(values: pd.Series) -> str:
    """Bytes, the same for each seed, in thousands."""
    return f"{values.mean() / 1e3:,.1f}" if len(values) else "-"


def _ways(runs: Runs, network: Network) -> list[list[str]]:
    """How far it is to the target, in steps and in seconds; empty without evaluations."""
    race = network.race(runs, network.bn, seconds=False)
    if not race.known:
        return []
    target = race.target()
    rows = [["network", f"steps to {100 * target:.1f} %", "times fewer", "seconds", "times fewer"]]
    rows[0].append("a whole run, seconds by the clock")
    for arm in network.arms:
        curve, paces = network.curve(runs, arm), network.measured(runs, arm, STEP)
        if curve.empty or paces.empty:
            continue
        steps = pd.Series(steps_to.at(curve, target), curve.index)
        seconds = (steps * paces).dropna()
        mine = network.of(runs, arm)
        whole = mine.runs["seconds"].median()
        row = [arm.label, steps_to.shown(float(np.median(steps)), mine.last_step), "-"]
        row += [f"{seconds.median():#.3g}" if np.isfinite(seconds.median()) else "not reached", "-"]
        if arm != network.without:
            races = (network.race(runs, arm, seconds=seconds) for seconds in (False, True))
            row[2], row[4] = (str(race.factor()).replace(" x", "") for race in races)
        rows.append([*row, f"{whole:.0f}"])
    return rows


STUDY = Study("cost.md.j2", figures, claims, values=values, traces=True, keep=probes_alone)
