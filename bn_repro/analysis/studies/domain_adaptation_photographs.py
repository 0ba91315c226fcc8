"""New distributions of photographs, and new population statistics for them (sec. 5).

The claims were written before the runs (docs/log.md, 2026-11-26, "Domain adaptation on
photographs").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies.domain_adaptation import helps, makes_up, robust, shown
from bn_repro.analysis.studies.domain_adaptation_figures import against_strength
from bn_repro.analysis.studies.domain_adaptation_runs import INVERTED, NOISY, PHOTOGRAPHS, SHIFTED
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """Whether new statistics help, by distribution; whether BN's network loses less without."""
    noise = "on photographs with noise (standard deviation 0.5)"
    yield helps(runs, PHOTOGRAPHS, NOISY, noise, "the noise")
    yield makes_up(runs, PHOTOGRAPHS)
    yield helps(runs, PHOTOGRAPHS, INVERTED, "on negatives", "the nonlinearity")
    yield helps(runs, PHOTOGRAPHS, SHIFTED, "on photographs shifted by 2 pixels", "the shift")
    yield robust(runs, PHOTOGRAPHS)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_adaptation``: accuracy against the strength of each distribution."""
    return against_strength(runs, [PHOTOGRAPHS])


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims; empty without runs."""
    return {"network": shown(runs, PHOTOGRAPHS)}


STUDY = Study(
    "domain_adaptation_photographs.md.j2",
    figures,
    claims,
    values=values,
    traces=True,
    keep=probes_alone,
)
