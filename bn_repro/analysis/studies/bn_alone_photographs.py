"""BN alone at its own best rate (sec. 4.2.2), on the photographs of ``fig3_photographs``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from bn_repro.analysis import style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import inception, inception_figures, inception_rates
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

PAIR = BN_BASELINE, INCEPTION


def compared(runs: Runs) -> Runs:
    """Both networks, each at its own best rate."""
    return runs.where(block=["reference", "own rate"])


def claims(runs: Runs) -> Iterator[Claim]:
    """What the paper says of BN alone."""
    pair = compared(runs)
    yield inception.bn_alone_claim(pair)
    sentence = "BN alone (BN-Baseline) reaches a higher accuracy than Inception."
    depends_on = "the initial weights, the length"
    yield inception.higher(pair, *PAIR, sentence, depends_on)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_own_rate``: (a) the search, (b) accuracy against steps at each one's best rate."""
    pair = compared(runs)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
        inception_rates.draw_rates(left, runs.where(block="rates")).set_title("the search")
        if len(pair.runs):
            inception_figures.draw_pair(right, pair, *PAIR).set_title("each at its own best rate")
            inception_figures.name_ends(right, pair, PAIR)
        style.letters([left, right])
        return {"figure_own_rate": figure}


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = inception_rates.tried(runs.where(block="rates"))
    return {
        "missing": inception.missing(runs, PAIR),
        "pair": inception.pair(compared(runs), *PAIR),
        "search": found[0] if found else None,
    }


STUDY = Study(prose="bn_alone_photographs.md.j2", figures=figures, claims=claims, values=values)
