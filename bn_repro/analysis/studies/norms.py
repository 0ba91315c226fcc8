"""The norms that came after BN, beside it: each at its own best rate, on both of our networks.

The claims were written before the runs (docs/log.md, 2026-11-26, "Norms beside BN").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import listed, percent, points
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import AtEach, side
from bn_repro.analysis.speed import at_each, target_counts
from bn_repro.analysis.studies.inception_rates import Tried
from bn_repro.analysis.studies.norms_figures import figures
from bn_repro.analysis.studies.norms_runs import NONE, NORMS, Comparison, Network, networks
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

NOT_THEIRS = "not in the paper"


def claims(runs: Runs) -> Iterator[Claim]:
    """Two of each network."""
    for network in networks(runs):
        reaches = "maximum test accuracy" if network.maximum else "test accuracy at the end"
        yield Claim(
            f"{network.name.lower()}_above_each_difference",
            f"{network}: BN has a higher {reaches} than every other norm and than no norm, each "
            "at its own best rate.",
            NOT_THEIRS,
            above_each(network),
            AtEach("norm"),
            depends_on="the grid of rates, the length",
        )
        yield Claim(
            f"{network.name.lower()}_fewer_steps_than_each_ratio",
            f"{network}: BN needs fewer steps than every other norm and than no norm, each at "
            "its own best rate.",
            NOT_THEIRS,
            fewer_than_each(network),
            AtEach("norm", 1.0),
            gates=[target_counts([one.race for one in network.beside], who="all")],
            depends_on="the grid of rates, the target",
        )


# --- quantities -----------------------------------------------------------------------------------


def above_each(network: Network) -> Quantity:
    """How far BN is above each of the others; the number is that of the least sure.

    Not measured unless all of them have runs.
    """
    over = q.OVER_BOTH if all(one.over_images for one in network.beside) else q.OVER_SEEDS
    words = (
        f"{network.what} of fresh seeds, each norm at the rate of its best mean accuracy on "
        "held-out images. BN's minus that of each other norm, paired by seed: mean with its "
        f"{over}; the number is that of the norm whose interval reaches lowest. {q.AT_CHANCE}"
    )
    if not network.beside:
        return Quantity(words, q.NOTHING, "points")
    parts, corrected = zip(*((one.above, one.corrected) for one in network.beside), strict=True)
    least = min(parts, key=lambda p: p.estimate if np.isnan(p.low) else p.low)
    found = Quantity(words, least, "points", parts, corrected)
    return q.with_each(found, [one.arm.label for one in network.beside])


def fewer_than_each(network: Network) -> Quantity:
    """How many times fewer steps BN needs than each of the others."""
    words = (
        "Times fewer steps of BN than of each other norm to 95 % of the best accuracy above "
        "chance of the unnormalized network, each norm at its own best rate (first evaluations "
        "at or above it; median steps over seeds; 95 % bootstrap interval, widened by the "
        "distance of evaluations); the number is that of the norm whose interval reaches "
        "lowest"
    )
    names = [one.arm.label for one in network.beside]
    return at_each([one.race for one in network.beside], names, words)


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = networks(runs)
    return {
        "tables": {str(network): table(network) for network in found},
        "said": {str(network): said(network) for network in found},
        "missing": [line for network in found for line in network.missing],
        "early": any(not one.race.counts() for n in found for one in n.beside if one.race.known),
    }


def said(network: Network) -> str:
    """Which norms BN is above, below or neither, and which it needs fewer or more steps than."""
    above = _listed({one.arm.label: side(one.above, 0.0) for one in network.beside})
    steps = {o.arm.label: side(o.fewer, 1.0) if o.race.counts() else 0 for o in network.beside}
    fewer = _listed(steps)
    which = "BN's maximum is" if network.maximum else "BN ends"
    of_accuracy = {
        f"{which} higher than {{}}": above[1],
        f"{which} lower than {{}}": above[-1],
        "against {} this is undecided": above[0],
    }
    of_steps = {
        "BN needs fewer steps than {}": fewer[1],
        "BN needs more steps than {}": fewer[-1],
        "against {} the number of steps is undecided": fewer[0],
    }
    sentences = (
        "; ".join(text.format(names) for text, names in words.items() if names)
        for words in (of_accuracy, of_steps)
    )
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)


def _listed(sides: Mapping[str, int]) -> dict[int, str]:
    """The norms by side."""
    words = {name: "no norm" if name == NONE.label else name for name in sides}
    return {k: listed(words[name] for name, at in sides.items() if at == k) for k in (1, -1, 0)}


def table(network: Network) -> list[list[str]]:
    """A row a norm, a head first."""
    reached = "maximum test accuracy" if network.maximum else "test accuracy at the end"
    rows = [["norm", "best rate", reached, "BN minus it, points", "times fewer steps with BN"]]
    rows[0].append("rates at which all seeds train")
    tried = {one.arm.label: one for one in network.tried}
    beside = {one.arm.label: one for one in network.beside}
    for arm in NORMS:
        one, own = beside.get(arm.label), tried.get(arm.label)
        above = points(one.above).replace(" points", "") if one else "-"
        fewer = _fewer(one) if one else "-"
        rows.append(
            [
                arm.label,
                _rate(network, own) if own else "-",
                percent(network.accuracy(arm)),
                above,
                fewer,
                _all_train(own) if own else "-",
            ]
        )
    return rows


def _fewer(one: Comparison) -> str:
    """A star: a median lies within the first ten evaluations."""
    slow, fast, _ = one.race.names
    shown = str(Quantity("", one.fewer, "x", never=(fast, slow))).replace(" x", "")
    return shown if one.race.counts() else f"{shown}*"


def _rate(network: Network, own: Tried) -> str:
    """The rate of the final runs, else the grid's best; says where it is an end of the grid."""
    used, best = network.rate(own.arm), own.rates[own.best]
    rate = best if np.isnan(used) else used
    end = {own.rates[0]: " (lowest)", own.rates[-1]: " (highest)"}.get(rate, "")
    return f"{rate:g}{end}" + (f", not the best, {best:g}" if rate != best else "")


def _all_train(own: Tried) -> str:
    """The rates around the best one at which no seed fails: ``0.005 to 0.32``."""
    lo = hi = own.best
    if any(own.failed[own.best]):
        return "none"
    while lo > 0 and not any(own.failed[lo - 1]):
        lo -= 1
    while hi + 1 < len(own.rates) and not any(own.failed[hi + 1]):
        hi += 1
    return f"{own.rates[lo]:g} to {own.rates[hi]:g}{' (highest)' * (hi + 1 == len(own.rates))}"


STUDY = Study(prose="norms.md.j2", figures=figures, claims=claims, values=values)
