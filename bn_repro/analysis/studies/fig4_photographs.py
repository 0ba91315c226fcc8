"""Figure 4 (sec. 4.2.3) on photographs of twenty classes: six ensembles of six networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro import paper
from bn_repro.analysis import gates
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.ensembles import Scores
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies import fig4
from bn_repro.analysis.studies.fig4_figures import figures
from bn_repro.analysis.studies.fig4_runs import (
    ERRORS,
    MULTI,
    PLAIN,
    SINGLE,
    SIX,
    extra,
    scores,
    scores_together,
    together,
    with_members,
)
from bn_repro.analysis.study import Extra, Study
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """What Figure 4 says of crops and of ensembles; all need a BN-x30 that trains."""
    gate = gates.trains(gates.failed(PLAIN.of(runs)), PLAIN.label)
    for metric in ERRORS:
        yield _crops(runs, metric, gate)
    for metric in ERRORS:
        yield _ensemble(runs, metric, gate)
    yield _members(runs, gate)


def _crops(runs: Runs, metric: str, gate: Gate) -> Claim:
    one, many = (scores(runs, PLAIN, k, metric) for k in (SINGLE, MULTI))
    return Claim(
        f"multi_crop_{metric}_difference",
        f"Averaging over 144 crops lowers the {_name(metric)} of a single network.",
        fig4.WHERE,
        q.difference(
            many.accuracy,
            one.accuracy,
            f"{_name(metric).capitalize()} of plain BN-x30 by a single crop minus by 144 crops",
            images=(many.right, one.right),
        ),
        Above(),
        paper.lower_error("multicrop", "single crop", metric),
        effect=paper.error_gap("multicrop", "single crop", metric),
        gates=[gate],
    )


def _ensemble(runs: Runs, metric: str, gate: Gate) -> Claim:
    plain, whole = scores(runs, PLAIN, MULTI, metric), scores_together(runs, MULTI, metric)
    return Claim(
        f"ensemble_{metric}_difference",
        f"An ensemble of six networks has a lower {_name(metric)} than one BN-x30.",
        fig4.WHERE,
        q.difference(
            whole.accuracy,
            plain.accuracy,
            f"{_name(metric).capitalize()} of one BN-x30 minus that of an ensemble, by 144 crops",
            paired=False,
            images=(whole.right, plain.right),
            of="seeds or ensembles",
        ),
        Above(),
        paper.lower_error("ensemble", "multicrop", metric),
        effect=paper.error_gap("ensemble", "multicrop", metric),
        gates=[gate],
        depends_on="how good the six networks are alone",
    )


def _members(runs: Runs, gate: Gate) -> Claim:
    """Of averaging alone: an ensemble beside its own networks."""
    whole, alone = scores_together(runs, MULTI), mean_of_members(runs)
    return Claim(
        "ensemble_over_members_difference",
        "An ensemble of six networks has a lower top-1 error than its six networks on average.",
        fig4.WHERE,
        q.mean(
            whole.accuracy - alone.accuracy,
            "Mean top-1 error of an ensemble's own six networks minus that of the ensemble, by 144 "
            "crops",
            gained=q.gained_at(whole.accuracy, alone.accuracy, (whole.right, alone.right)),
            of="ensembles",
        ),
        Above(),
        gates=[gate],
    )


def mean_of_members(runs: Runs) -> Scores:
    """By ensemble, the mean over its networks alone, by 144 crops."""
    alone, accuracy, right = scores(runs, SIX, MULTI), {}, {}
    for number, (_, members) in enumerate(with_members(runs, SIX, MULTI), start=1):
        seeds = [member.seed for member in members]
        accuracy[number] = alone.accuracy.reindex(seeds).mean(skipna=False)
        right[number] = alone.right.reindex(seeds).mean(skipna=False)
    rows = pd.DataFrame.from_dict(right, orient="index", dtype=float)
    return Scores(pd.Series(accuracy, dtype=float), rows.dropna())


def without_per_activation(runs: Runs) -> list[float]:
    """By ensemble, the top-1 error of those of its networks that have no BN per activation."""
    errors = []
    for ensemble, members in with_members(runs, SIX, MULTI):
        kept = [
            n for n, m in enumerate(members, 1) if "model.per_activation_modules" not in m.varied
        ]
        subset = "+".join(map(str, kept))
        errors += [row["top1"] for row in ensemble.rows if row["members"] == subset]
    return errors


def _name(metric: str) -> str:
    return f"top-{metric[3:]} error"


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims, by 144 crops."""
    found, without = together(runs, SIX, MULTI), without_per_activation(runs)
    whole = [each.all["top1"] for each in found]
    return fig4.values(runs) | {
        "together": whole,
        "without_per_activation": without,
        "the_rest_adds": [a - b for a, b in zip(whole, without, strict=True)],
        "leads": [each.lead.estimate for each in found],
        "alone": [error for each in found for error in each.by_size()[1]],
    }


STUDY = Study(
    prose="fig4_photographs.md.j2",
    claims=claims,
    figures=figures,
    values=values,
    extra=Extra(fig4.EXTRA, extra, ("bn-repro evaluate study=fig4_photographs",)),
)
