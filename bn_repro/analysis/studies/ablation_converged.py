"""The seven changes of section 4.2.1, each alone, where both bases have converged.

As ``ablation_421``, with a block ``rest`` of both bases trained twice as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bn_repro.analysis import gates
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.studies import ablation_421
from bn_repro.analysis.studies.ablation_421 import BASES
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def twice_as_long(runs: Runs, base: Arm) -> pd.Series:
    """The accuracy of ``base`` at the last step of twice as many, by seed."""
    return base.of(runs.where(block="rest")).final(diverged=runs.chance).by_seed()


def has_converged(runs: Runs, base: Arm) -> Gate:
    """That ``base`` has converged, by what the claims compare: the accuracy at the last step."""
    usual = ablation_421.final(runs, None, base)
    return gates.converged(usual, twice_as_long(runs, base), runs.chance, base.label)


DISTORTED = Gate("training images are distorted", False, "images are not distorted here")


def claims(runs: Runs) -> Iterator[Claim]:
    """Those of ``ablation_421``; none is testable where a base has not converged."""
    asked = [has_converged(runs, base) for base in BASES]
    for claim in ablation_421.claims(runs):
        own, sentence, depends_on = [], claim.sentence, claim.depends_on
        if claim.id == "weaker_distortions_difference":
            own = [DISTORTED]
        if claim.id == "all_seven_difference":
            sentence = "Six of the seven changes together (BN-x5 over BN-Baseline) train better."
        if claim.id in ("all_seven_difference", "higher_learning_rate_difference"):
            depends_on = "the rate of BN-Baseline"
        found = replace(claim, sentence=sentence, depends_on=depends_on)
        yield replace(found, gates=[*own, *asked, *claim.gates])


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    longer = {base.label: twice_as_long(runs, base) for base in BASES}
    usual = {base.label: ablation_421.final(runs, None, base) for base in BASES}
    rest = {base.label: has_converged(runs, base) for base in BASES}
    return {
        **ablation_421.values(runs),
        "rest": rest,
        "unconverged": any(gate.met is False for gate in rest.values()),
        "rise": {label: (longer[label] - usual[label]).dropna() for label in longer},
        "longer": (longer[BN_X5.label] - longer[BN_BASELINE.label]).dropna(),
        "margin": {label: gates.MARGIN * (usual[label].mean() - runs.chance) for label in usual},
    }


def study(prose: str) -> Study:
    """The study whose template is ``prose``."""
    return Study(prose=prose, figures=ablation_421.figures, claims=claims, values=values)
