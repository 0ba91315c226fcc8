"""New distributions of the same images, and new population statistics for them (sec. 5).

The claims were written before the runs (docs/log.md, 2026-11-26, "Domain adaptation").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, AtEach, Below
from bn_repro.analysis.studies.domain_adaptation_figures import figures
from bn_repro.analysis.studies.domain_adaptation_runs import (
    CONTRAST,
    INVERTED,
    NETWORKS,
    NEW,
    NOISY,
    NONE,
    OLD,
    SHIFTED,
    STRENGTHS,
    UNALTERED,
    Alteration,
    Network,
    loses,
)
from bn_repro.analysis.studies.inference_statistics import MARGIN
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.tables import Runs

WORDS = {
    "noisy": "noise of standard deviation {:g}",
    "contrast": "{:g} of the contrast",
    "shifted": "shifted by {:g} pixels",
    "inverted": "inverted",
    "unaltered": "unaltered",
}


def claims(runs: Runs) -> Iterator[Claim]:
    """Whether new statistics help, by distribution; whether BN's network loses less without."""
    for network in NETWORKS:
        yield helps(
            runs, network, NOISY, "on digits with noise (standard deviation 0.5)", "the noise"
        )
    yield from (makes_up(runs, network) for network in NETWORKS)
    for network in NETWORKS:
        yield helps(runs, network, INVERTED, "on inverted digits", "the nonlinearity")
    yield Claim(
        "shifted_difference",
        "On digits shifted by 2 pixels new statistics give a higher accuracy than the old ones, "
        "with both networks.",
        "5",
        _shifted(runs),
        AtEach("network"),
        gates=[loses(runs, SHIFTED, NETWORKS)],
        depends_on="the shift",
    )
    yield from (robust(runs, network) for network in NETWORKS)


def helps(runs: Runs, network: Network, which: Alteration, where: str, depends_on: str) -> Claim:
    """New statistics give a higher accuracy than the old ones ``where`` a distribution is new."""
    return Claim(
        f"{network.id}_{which[0]}_difference",
        f"{network.name}: {where} new statistics give a higher accuracy than the old ones.",
        "5",
        q.difference(
            network.by(runs, NEW, which),
            network.by(runs, OLD, which),
            f"{network.end}, on the same images by the same weights: by new statistics minus by "
            "old ones",
        ),
        Above(),
        gates=[loses(runs, which, (network,))],
        depends_on=depends_on,
    )


def makes_up(runs: Runs, network: Network) -> Claim:
    """At a quarter of the contrast new statistics lose nothing."""
    return Claim(
        f"{network.id}_contrast_difference",
        f"{network.name}: at a quarter of the contrast new statistics give as good an accuracy as "
        "that on unaltered images.",
        "5",
        q.difference(
            network.by(runs, NEW, CONTRAST),
            network.by(runs, OLD, UNALTERED),
            f"{network.end}, by the same weights: at a quarter of the contrast by new statistics "
            f"minus on unaltered images (a loss of up to {100 * MARGIN:g} points counts as none, "
            "fixed beforehand)",
        ),
        Above(-MARGIN),
        gates=[loses(runs, CONTRAST, (network,))],
    )


def _shifted(runs: Runs) -> Quantity:
    """What new statistics add, network by network; the number is that of the less sure one."""
    new, old = (
        pd.DataFrame({n.name: n.by(runs, kind, SHIFTED) for n in NETWORKS}).dropna()
        for kind in (NEW, OLD)
    )
    names = ("the accuracy at the last step by new statistics", "that by old ones")
    found = q.ahead_at_each(new, old, names, "network")
    return q.with_each(found, [f"({network.name})" for network in NETWORKS], "less")


def robust(runs: Runs, network: Network) -> Claim:
    """Before any recomputation the network with BN loses less than the one without."""
    return Claim(
        f"{network.id}_robust_difference",
        f"{network.name}: before any recomputation the network with BN loses less accuracy on the "
        "new distributions than the one without.",
        "5",
        q.difference(
            network.lost_on_all(runs, OLD),
            network.lost_on_all(runs, NONE),
            f"{network.end} on unaltered images minus that on new distributions, mean of the four "
            "that claims name: lost with BN, by the old statistics, minus lost without BN",
        ),
        Below(),
        depends_on="the distributions",
    )


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    return {"networks": [found for n in NETWORKS if (found := shown(runs, n))]}


def shown(runs: Runs, network: Network) -> dict[str, Any]:
    """Of a network: a table of all distributions, and the accuracies that the outcome names."""
    kinds = [UNALTERED, *((name, s) for name, known in STRENGTHS.items() for s in known)]
    found = {w: [network.by(runs, kind, w) for kind in (NONE, OLD, NEW)] for w in kinds}
    if found[UNALTERED][1].empty:
        return {}
    table = [["images", "without BN", "old statistics", "new statistics", "new minus old"]]
    for (name, strength), (without, old, new) in found.items():
        words = WORDS[name].format(strength).replace(" 1 pixels", " 1 pixel")
        gained = points((new - old).dropna()) if len(new) else ""
        table.append([words, *(percent(x) if len(x) else "" for x in (without, old, new)), gained])
    named = {w[0]: found[w][1:] for w in (NOISY, CONTRAST, SHIFTED, INVERTED)}
    usual = found[UNALTERED][1]
    return {"name": network.name, "table": table, "usual": usual, "named": named}


STUDY = Study(
    "domain_adaptation.md.j2", figures, claims, values=values, traces=True, keep=probes_alone
)
