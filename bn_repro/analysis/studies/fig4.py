"""Figure 4 (sec. 4.2.3): BN-x30 by a single crop and by 144, and an ensemble of six."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bn_repro import paper
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies.fig4_figures import figures
from bn_repro.analysis.studies.fig4_runs import (
    CROPS,
    ERRORS,
    MULTI,
    PLAIN,
    SINGLE,
    SIX,
    errors,
    extra,
    networks,
    settings,
    together,
)
from bn_repro.analysis.study import Extra, Study
from bn_repro.analysis.tables import Runs

WHERE = "4.2.3, Figure 4"


def claims(runs: Runs) -> Iterator[Claim]:
    """What Figure 4 says of crops and of the ensemble."""
    six, plain = together(runs, SIX, MULTI), errors(runs, PLAIN, MULTI)
    lead = [float(np.mean(plain)) - each.all["top1"] for each in six] if plain else []
    yield Claim(
        "multi_crop_difference",
        "Averaging over 144 crops lowers the top-1 error of a single network.",
        WHERE,
        q.mean(
            pd.Series(changes(runs), dtype=float),
            "Top-1 error by a single crop minus by 144 crops, each network with itself",
            of="networks",
        ),
        Above(),
        paper.lower_error("multicrop", "single crop"),
        effect=paper.error_gap("multicrop", "single crop"),
    )
    yield Claim(
        "ensemble_over_single_difference",
        "An ensemble of six networks has a lower top-1 error than one BN-x30.",
        WHERE,
        q.mean(
            pd.Series(lead, dtype=float),
            "Top-1 error of one BN-x30 (mean over its seeds) minus that of the mean of the six's "
            "probabilities, both by 144 crops. An ensemble is one observation, however many "
            "networks it has. Changed after the results were seen: the claim first compared the "
            "ensemble with the best of its six, as the paper does not; Findings has that number",
            of="ensembles",
        ),
        Above(),
        paper.lower_error("ensemble", "multicrop"),
        effect=paper.error_gap("ensemble", "multicrop"),
        depends_on="how good the six networks are alone",
    )


def changes(runs: Runs, metric: str = "top1") -> np.ndarray:
    """What 144 crops take off each network's error by a single crop, plain BN-x30 first."""
    rows = [rows for arm in (PLAIN, SIX) for _, rows in networks(runs, arm)]
    pairs = [own for own in rows if set(CROPS) <= set(own)]
    return np.array([own[SINGLE][metric] - own[MULTI][metric] for own in pairs])


def values(runs: Runs) -> dict[str, Any]:
    """What the templates of Figure 4's studies show besides the claims."""
    exact = runs.final("val", statistics="population").array - runs.final("val").array
    table = [["network"]]
    table[0] += [f"top-{m[3:]} error, {name}" for name, m in product(CROPS.values(), ERRORS)]
    for words, _, seeds in settings(runs):
        by_way = product(CROPS, ERRORS)
        table.append([words, *(percent([s[k][m] for s in seeds if k in s]) for k, m in by_way)])
    return {
        "plain": {m: {k: errors(runs, PLAIN, k, m) for k in CROPS} for m in ERRORS},
        "six": {k: together(runs, SIX, k) for k in CROPS},
        "equals": together(runs, PLAIN, MULTI),
        "gains": {metric: 100 * changes(runs, metric) for metric in ERRORS},
        "printed": paper.FIGURE4,
        "crops": CROPS,
        "networks": table,
        "algorithm2": (100 * exact[np.isfinite(exact)]).tolist(),
    }


EXTRA = "evaluations.csv"
STUDY = Study(
    prose="fig4.md.j2",
    claims=claims,
    figures=figures,
    values=values,
    extra=Extra(EXTRA, extra, ("bn-repro evaluate study=fig4",)),
)
