"""A claim's verdict: few seeds first, then its gates, then its rule; what is bounded; the file."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import claims as c
from bn_repro.analysis import gates
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.quantities import NOTHING, Quantity
from bn_repro.analysis.rules import Above, Below, Rule

HOLDS, OPEN, CLOSED = "holds", "undecided", "not testable"


def claim(low: float, high: float, n: int = 5, rule: Rule | None = None, **how) -> Claim:
    found = Interval((low + high) / 2, low, high, n)
    return Claim(
        "id", "s", "4", Quantity("q", found, how.pop("unit", "points")), rule or Above(), **how
    )


MET, SHUT, UNKNOWN = Gate("it rests", True), Gate("it trains", False, "it fails"), Gate("so", None)


@pytest.mark.parametrize(
    ("gates", "n", "verdict", "reason"),
    [
        ([], 5, HOLDS, "the interval lies above 0"),
        ([MET], 5, HOLDS, "the interval lies above 0"),
        ([MET, SHUT], 5, CLOSED, "it fails"),
        ([UNKNOWN, SHUT], 5, CLOSED, "it fails"),
        ([UNKNOWN, MET], 5, OPEN, "not known whether so"),
        ([SHUT], 4, OPEN, "fewer than 5 seeds"),
    ],
)
def test_gates_come_before_the_rule(gates: list[Gate], n: int, verdict: str, reason: str) -> None:
    found = claim(0.1, 0.3, n, gates=gates)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_what_no_run_can_ask_is_not_testable() -> None:
    nothing = Quantity("q", NOTHING, "points")
    grey = Gate("the images have colours", False, "digits are grey")
    found = Claim("id", "s", "4", nothing, Above(), gates=[grey])
    assert (found.verdict, found.reason) == (CLOSED, "digits are grey")
    assert Claim("id", "s", "4", nothing, Above(), gates=[UNKNOWN]).reason == "not measured"
    assert found.computed.endswith("Not testable unless the images have colours")


def test_the_reason_says_what_the_verdict_depends_on() -> None:
    assert (
        claim(0.1, 0.3, depends_on="the rate").reason
        == "the interval lies above 0; depends on the rate"
    )


@pytest.mark.parametrize(
    ("low", "high", "effect", "reason"),
    [
        (-0.002, 0.004, 0.003, "bounded: at most +0.40 points"),
        (-0.004, 0.002, -0.003, "bounded: at least -0.40 points"),
        (-0.002, 0.004, 0.02, "the interval contains 0"),  # such an effect would have been seen
        (-0.002, 0.004, None, "the interval contains 0"),
        (0.001, 0.004, 0.001, "the interval lies above 0"),  # decided is decided
    ],
)
def test_a_claim_too_small_to_be_shown_is_bounded(low, high, effect, reason: str) -> None:
    found = claim(low, high, effect=effect)
    assert found.reason == reason
    assert found.bounded == reason.startswith("bounded")
    assert not claim(low, high, n=4, effect=effect).bounded


def test_a_factor_is_bounded_on_its_own_scale() -> None:
    found = claim(0.8, 1.5, rule=Above(1.0), unit="x", effect=1.2)
    assert found.reason == "bounded: at most 1.50 x"
    assert (
        claim(0.8, 1.5, rule=Above(1.0), unit="x", effect=5.0).reason == "the interval contains 1"
    )
    assert claim(0.8, math.inf, rule=Above(1.0), unit="x", effect=1.2).reason == (
        "the interval contains 1"
    )


def test_what_would_hold_by_chance() -> None:
    assert claim(-0.1, 0.3).by_chance == pytest.approx(0.025)
    assert claim(0.8, 1.2, rule=Below(1.0), unit="x").by_chance == pytest.approx(0.025)
    assert claim(0.8, 1.2, rule=Above(2.0), unit="x").by_chance == 0  # asks for more than an effect
    assert claim(-0.1, 0.3, n=4).by_chance == 0
    assert claim(-0.1, 0.3, gates=[SHUT]).by_chance == 0


# --- gates ----------------------------------------------------------------------------------------


def test_a_network_rests_where_twice_the_length_raises_it_little() -> None:
    usual = pd.Series([0.70, 0.71, 0.69, 0.70, 0.70])
    still, rising = usual + 0.002, usual + np.array([0.01, 0.03, 0.02, 0.02, 0.02])
    assert gates.converged(usual, still, 0.1, "it").met
    found = gates.converged(usual, rising, 0.1, "it")
    assert found.met is False
    assert "twice the length adds 3.3 %" in found.reason
    wide = usual + np.array(
        [-0.03, 0.03, 0.02, -0.02, 0.0]
    )  # nothing on average: the upper end counts
    assert gates.converged(usual, wide, 0.1, "it").met is False
    assert gates.converged(usual.iloc[:4], still, 0.1, "it").met is None


def test_the_reference_trains_where_no_run_of_it_fails() -> None:
    assert gates.trains([False, False], "it").met is True
    assert gates.trains([False, True], "it").met is False
    assert gates.trains([], "it").met is None


# --- claims.json ----------------------------------------------------------------------------------


def test_json_is_rounded_and_says_what_is_no_number() -> None:
    found = Quantity("What", Interval(1.23456789, math.nan, math.inf, 5), "x")
    text = c.to_json([Claim("x_ratio", "s", "4.1", found, Above(1.0), paper="2 x")])
    (row,) = json.loads(text)
    assert list(row) == [
        *("id", "sentence", "section", "rule", "estimate", "low", "high", "n"),
        *("verdict", "reason"),
    ]
    assert (row["estimate"], row["low"], row["high"]) == (1.235, None, "inf")
    assert row["rule"] == "What. Holds if the interval lies above 1, does not hold if below"
    assert row["verdict"] == OPEN
