"""Where BN stands in a layer, and what its parts are good for (sec. 3 and 3.2).

The claims were written before the runs (docs/log.md, 2026-11-26, "Where and what").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.frames import shared
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, AtEach
from bn_repro.analysis.studies.dropout import MARGIN
from bn_repro.analysis.studies.placement_runs import (
    AFTER,
    BARE,
    BEFORE,
    INPUT,
    NONE,
    PER_ACTIVATION,
    RATES,
    VARIANTS,
    WITH_BIAS,
    Setting,
    figures,
    inception,
    mnist,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

SAME = f"up to {100 * MARGIN:g} points less count as just as good, fixed beforehand"


def claims(runs: Runs) -> Iterator[Claim]:
    """Of the place, then of the parts."""
    settings, digits = mnist(runs), inception(runs)
    yield Claim(
        "mnist_before_over_after_difference",
        "The MNIST network ends higher with BN before the nonlinearity than after it, at each "
        "rate.",
        "3.2",
        _ahead(settings, BEFORE, AFTER, ("with BN before the nonlinearity", "after it")),
        AtEach("rate"),
        depends_on="the rate, the length",
    )
    yield Claim(
        "mnist_before_over_input_difference",
        "The MNIST network ends higher with BN before the nonlinearity than on the layers' "
        "inputs, at each rate.",
        "3.2",
        _ahead(settings, BEFORE, INPUT, ("with BN before the nonlinearity", "on the inputs")),
        AtEach("rate"),
        depends_on="the rate, the length",
    )
    yield Claim(
        "inception_before_over_after_difference",
        "Inception on digits has the higher maximum with BN before the nonlinearity than after it.",
        "3.2",
        _higher(digits, BEFORE, AFTER, "BN before the nonlinearity minus after it"),
        Above(),
        depends_on="the rate",
    )
    yield Claim(
        "mnist_bias_difference",
        "With a bias before BN or without it the MNIST network ends equally high (to 0.2 points), "
        "at each rate.",
        "3.2",
        _alike(settings, WITH_BIAS, BEFORE, ("with the bias", "without")),
        AtEach("comparison", -MARGIN),
    )
    yield Claim(
        "mnist_gamma_and_beta_difference",
        "Without gamma and beta the MNIST network ends lower, at each rate.",
        "3",
        _ahead(settings, BEFORE, BARE, ("with gamma and beta", "without")),
        AtEach("rate"),
        depends_on="the nonlinearity",
    )
    yield Claim(
        "inception_gamma_and_beta_difference",
        "Without gamma and beta Inception on digits has a lower maximum.",
        "3",
        _higher(digits, BEFORE, BARE, "with gamma and beta minus without"),
        Above(),
        depends_on="the nonlinearity",
    )
    yield Claim(
        "inception_per_map_difference",
        "BN per feature map is as good in Inception on digits as per activation, or better.",
        "3.2",
        _higher(digits, BEFORE, PER_ACTIVATION, f"per map minus per activation ({SAME})"),
        Above(-MARGIN),
        depends_on="the size of the maps and of the mini-batch",
    )


# --- quantities -----------------------------------------------------------------------------------


def by_rate(settings: list[Setting], arm: Arm) -> pd.DataFrame:
    """Test accuracy at the last step: seeds (rows) by rates (columns), of seeds with all rates."""
    found = {rate: s.accuracy(arm) for rate, s in zip(RATES, settings, strict=True)}
    return pd.DataFrame(found).dropna()


def _ahead(settings: list[Setting], one: Arm, other: Arm, names: tuple[str, str]) -> Quantity:
    """``one`` minus ``other`` at each rate, the number that of the less sure."""
    a, b = shared(by_rate(settings, one), by_rate(settings, other))
    images = {r: (s.right(one), s.right(other)) for r, s in zip(RATES, settings, strict=True)}
    words = f"the final test accuracy {names[0]}", names[1]
    found = q.ahead_at_each(a, b, words, "rate", images)
    return q.with_each(found, [f"at rate {rate:g}" for rate in RATES])


def _alike(settings: list[Setting], one: Arm, other: Arm, names: tuple[str, str]) -> Quantity:
    """Either minus the other, at each rate: none is more than the margin behind."""
    a, b = shared(by_rate(settings, one), by_rate(settings, other))
    this, that = (pd.concat({names[0]: x, names[1]: y}, axis=1) for x, y in ((a, b), (b, a)))
    words = f"the final test accuracy {names[0]} ({SAME})", f"{names[1]}, and the reverse"
    found = q.ahead_at_each(this, that, words, "comparison")
    return q.with_each(found, [f"{names[0]} at rate {rate:g}" for rate in RATES])


def _higher(setting: Setting, one: Arm, other: Arm, words: str) -> Quantity:
    return q.difference(
        setting.accuracy(one),
        setting.accuracy(other),
        f"{q.MAXIMUM}, {words}. {q.AT_CHANCE}",
        images=(setting.right(one), setting.right(other)),
    )


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    settings = [*mnist(runs), inception(runs)]
    rows = [["BN", *(setting.name for setting in settings)]]
    ends = [[arm.label, *(percent(s.accuracy(arm)) for s in settings)] for arm in VARIANTS]
    rows += [row for row in ends if set(row[1:]) != {"-"}]
    gained = {
        arm.label: [_gained(setting, arm) for setting in settings[: len(RATES)]]
        for arm in (BEFORE, AFTER, INPUT, BARE)
    }
    table = rows if len(rows) > 1 else []
    return {"table": table, "over_none": gained, "bias": _by_bias(settings[: len(RATES)])}


def _by_bias(settings: list[Setting]) -> dict[str, float]:
    """The largest change that a bias before BN makes at any evaluation, of accuracy and loss."""
    found = {}
    for metric in ("top1", "loss"):
        pairs = [[a.of(s.runs).curve(metric=metric) for a in (BEFORE, WITH_BIAS)] for s in settings]
        changes = [(a - b).abs().to_numpy(float).ravel() for a, b in pairs]
        found[metric] = max((float(c) for part in changes for c in part), default=float("nan"))
    return found


def _gained(setting: Setting, arm: Arm) -> str:
    """What a variant adds to the network without BN, in points."""
    a, b = shared(setting.accuracy(arm), setting.accuracy(NONE))
    return points(a - b) if len(a) else "-"


STUDY = Study(prose="placement.md.j2", figures=figures, claims=claims, values=values)
