"""Inception with BN and without (sec. 4.2.2), all else the same, in longer runs than ``fig3``'s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from bn_repro.analysis import style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import fig3, inception, inception_figures
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

PAIR = BN_BASELINE, INCEPTION


def claims(runs: Runs) -> Iterator[Claim]:
    """What the paper says of BN alone."""
    yield inception.bn_alone_claim(runs)
    sentence = "BN alone (BN-Baseline) reaches a higher accuracy than Inception."
    depends_on = "the rate, the initial weights, the length"
    yield inception.higher(runs, *PAIR, sentence, depends_on)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_longer``: as Figure 2, of the two networks."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        ax = inception_figures.draw_pair(figure.subplots(), runs, *PAIR)
        inception_figures.name_ends(ax, runs, PAIR).set_ylabel("single-crop validation accuracy")
        ax.set_title(f"BN and nothing else, {_seeds(runs)}")
        return {"figure_longer": figure}


def _seeds(runs: Runs) -> str:
    """``one run each (n = 1)``."""
    n = min(len(arm.of(runs).runs) for arm in PAIR)
    return "one run each (n = 1)" if n == 1 else f"n = {n}"


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    wide = inception.curves(runs, INCEPTION)
    return {
        "missing": inception.missing(runs, PAIR),
        "pair": inception.pair(runs, *PAIR),
        "seeds": _seeds(runs),
        "at_10k": wide[10_000].mean() if 10_000 in wide and runs.last_step > 10_000 else None,
    }


STUDY = Study("fig3_longer.md.j2", figures, claims, values=values, targets=fig3.targets)
