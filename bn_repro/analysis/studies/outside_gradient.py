"""A normalization outside of the gradient step (sec. 2), beside the same inside of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bn_repro.analysis import gates
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import listed, percent
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies.outside_gradient_figures import figures
from bn_repro.analysis.studies.outside_gradient_runs import (
    ARMS,
    CENTRED,
    GROWS,
    PAIRS,
    SCALED,
    SCALED_INSIDE,
    STAYS,
    USUAL,
    WHAT,
    at_ends,
    biases,
    by_rate,
    failed,
    final,
)
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """What section 2 says of the bias, of the network, and of scales besides centres."""
    usual = runs.where(block="norms")
    for name, (outside, inside) in PAIRS.items():
        ends, half_way = at_ends(biases(usual, outside))
        yield Claim(
            f"{name}_bias_grows_ratio",
            f"Where inputs are {WHAT[name]} outside of the gradient step, the bias before it keeps "
            "growing.",
            "2",
            q.factor(
                ends,
                half_way,
                "The norm of the hidden layers' biases at the last step over that at half of the "
                "steps; a steady growth doubles it",
            ),
            Above(GROWS),
            depends_on="the rate",
        )
        still = q.at_the_end(biases(usual, inside))
        yield Claim(
            f"{name}_bias_stays",
            f"Where inputs are {WHAT[name]} inside of the gradient step, the bias before it does "
            "not move.",
            "2",
            q.failures(
                (still <= STAYS).tolist(),
                f"Share of the runs in which its norm at the last step is at most {STAYS:g}; what "
                "is below is rounding",
            ),
            Above(0.5),
        )
    for name, (outside, inside) in PAIRS.items():
        good, bad = (final(usual, arm) for arm in (inside, outside))
        yield Claim(
            f"{name}_inside_difference",
            f"A network whose inputs are {WHAT[name]} inside of the gradient step ends with the "
            "higher test accuracy.",
            "2, 3",
            q.difference(
                good,
                bad,
                f"Test accuracy at the last step, inside minus outside. {q.AT_CHANCE}",
                images=(inside.of(usual).right(), outside.of(usual).right()),
            ),
            Above(),
            depends_on="the rate",
        )
    for rate, at_rate in by_rate(runs).items():
        yield Claim(
            "scaled_outside_fails" if rate == USUAL else f"scaled_outside_fails_{rate:g}",
            "Where inputs are centred and scaled outside of the gradient step, the network blows "
            f"up (ends at chance), at rate {rate:g}.",
            "2",
            q.failures(
                failed(at_rate, SCALED),
                "Share of the runs that end with a loss that is not finite, or whose accuracy at "
                "the last step is at most twice chance",
            ),
            Above(0.5),
            gates=[gates.trains(failed(at_rate, SCALED_INSIDE), "BN at the same rate")],
            depends_on="the rate",
        )


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows, usual = [], runs.where(block="norms")
    for arm in ARMS:
        found, top1 = biases(usual, arm), final(usual, arm)
        if found.size and len(top1):
            loss = q.at_the_end(arm.of(usual).curve(split="test", metric="loss"))
            ends, half_way = at_ends(found)
            bias = [f"{half_way.median():.3g}", f"{ends.median():.3g}"]
            rows.append([arm.label, *bias, f"{loss.median():.3g}", top1])
    rates = by_rate(runs)
    table = [["normalization", *(f"rate {rate:g}" for rate in rates)]]
    table += [[arm.label, *(percent(final(part, arm)) for part in rates.values())] for arm in ARMS]
    scaled = {rate: final(part, SCALED) - final(part, CENTRED) for rate, part in rates.items()}
    return {
        "rows": rows,
        "rates": table if len(rates) > 1 else [],
        "broken": _broken(rates),
        "scaled": {rate: change.dropna() for rate, change in scaled.items()},
    }


def _broken(rates: Mapping[float, Runs]) -> list[str]:
    """``centred, outside: 3 of 6 at rate 1``, for the networks of which runs end at chance."""
    found = [(arm, {rate: failed(part, arm) for rate, part in rates.items()}) for arm in ARMS]
    return [
        f"{arm.label}: "
        + listed(f"{sum(ends)} of {len(ends)} at rate {r:g}" for r, ends in by.items() if any(ends))
        for arm, by in found
        if any(map(any, by.values()))
    ]


STUDY = Study(
    "outside_gradient.md.j2", figures, claims, values=values, traces=True, keep=probes_alone
)
