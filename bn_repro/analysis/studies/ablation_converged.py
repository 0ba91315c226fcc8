"""The seven changes of section 4.2.1, each alone, where both bases have converged.

As ``ablation_421``, with a block ``rest`` of both bases trained twice as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bn_repro.analysis import gates
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.studies import ablation_421
from bn_repro.analysis.studies.ablation_421 import BASES
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def has_converged(runs: Runs, base: Arm) -> Gate:
    """That ``base`` has converged, by what the claims compare: the accuracy at the last step."""
    longer = base.of(runs.where(block="rest")).final(diverged=runs.chance)
    usual = ablation_421.final(runs, None, base)
    return gates.converged(usual, longer.by_seed(), runs.chance, base.label)


DISTORTED = Gate("training images are distorted", False, "images are not distorted here")


def claims(runs: Runs) -> Iterator[Claim]:
    """Those of ``ablation_421``; none is testable where a base has not converged."""
    asked = [has_converged(runs, base) for base in BASES]
    for claim in ablation_421.claims(runs):
        own = [DISTORTED] if claim.id == "weaker_distortions_difference" else []
        yield replace(claim, gates=[*own, *asked, *claim.gates])


def study(prose: str) -> Study:
    """The study whose template is ``prose``."""
    return Study(
        prose=prose,
        figures=ablation_421.figures,
        claims=claims,
        values=lambda runs: {
            **ablation_421.values(runs),
            "rest": {base.label: has_converged(runs, base) for base in BASES},
        },
    )
