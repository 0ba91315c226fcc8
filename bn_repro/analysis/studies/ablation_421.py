"""The seven changes of section 4.2.1, each alone: removed from BN-x5, and added to BN-Baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bn_repro import paper
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, InEach, Provided
from bn_repro.analysis.studies.ablation_421_figures import figures
from bn_repro.analysis.studies.ablation_421_runs import (
    BASES,
    CHANGES,
    Worth,
    block_of,
    effects,
    final,
    noise,
    worth_of,
)
from bn_repro.analysis.studies.inception import BN_X5
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """All seven changes together, and each in both directions."""
    last = "Accuracy at the last step"
    together = worth_of(runs, None, BN_X5)
    yield Claim(
        "all_seven_difference",
        "All seven changes together (BN-x5 over BN-Baseline) train better.",
        "4.2.1, 4.2.2",
        _mean([together], f"{last}, BN-x5 minus BN-Baseline, paired by seed"),
        Above(),
        paper.higher("bn_x5", "bn_baseline"),
        effect=paper.gap("bn_x5", "bn_baseline"),
    )
    for change in CHANGES:
        both = [worth_of(runs, change, base) for base in BASES]
        judged = [worth_of(runs, change, base, change.tolerated) for base in BASES]
        words = (
            f"{last} with the change ({change.name}) minus without, paired by seed, in two "
            "directions (removed alone from BN-x5, added alone to BN-Baseline), both averaged"
        )
        parts = [_mean([one], "").interval for one in judged]
        bound = f"a loss of {100 * change.tolerated:g} % of what is above chance without it"
        yield Claim(
            f"{change.name.lower().replace(' ', '_')}_difference",
            change.sentence,
            "4.2.1",
            _mean(both, words, parts),
            _rule(runs, [one.by_seed for one in both], bound if change.tolerated else ""),
            change.paper,
            change.effect,
            depends_on="the length" if change.block == "decay" else "",
        )


def _mean(directions: list[Worth], words: str, parts: Sequence[Interval] = ()) -> Quantity:
    """The mean of one direction, or of two."""
    images = [one.by_image for one in directions if one.by_image is not None]
    gained = np.mean(images, axis=0) if len(images) == len(directions) else None
    by_seed = pd.concat([one.by_seed for one in directions], axis=1).dropna().mean(axis=1)
    return q.mean(by_seed, words, gained=gained, parts=parts)


def _rule(runs: Runs, both: list[pd.Series], tolerated: str) -> Provided | InEach:
    """Each direction on one side of 0; an effect within the noise of seeds decides nothing."""
    if tolerated:
        return InEach("direction", tolerated)
    limits = [noise(runs, base) for base in BASES]
    outside = all(
        found is not None and abs(worth.mean()) > found.limit
        for found, worth in zip(limits, both, strict=True)
    )
    words = "in each direction the mean effect lies outside the noise of seeds (Findings)"
    return Provided(InEach("direction"), outside, words, "within the noise of seeds")


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows, arms = [], {base.label: base for base in BASES}
    for change in (None, *CHANGES):
        blocks = [block_of(change, base) for base in BASES if change]
        members = [member for block in blocks for member in runs.planned(block=block)[:1]]
        row: dict[str, Any] = {"name": change.name if change else "all seven"}
        row["settings"] = [json.dumps(v).strip('"') for m in members for v in m.varied.values()]
        row["final"] = {arm: final(runs, change, base) for arm, base in arms.items()}
        row["worth"] = {arm: effects(runs, change, base) for arm, base in arms.items()}
        rows.append(row)
    worth = {arm: {row["name"]: row["worth"][arm].mean() for row in rows[1:]} for arm in arms}
    sums = {arm: sum(worth[arm].values()) for arm in arms}
    found = {arm: noise(runs, base) for arm, base in arms.items()}
    known = found if all(found.values()) else None
    return {"rows": rows, "worth": worth, "sums": sums, "noise": known}


STUDY = Study(prose="ablation_421.md.j2", figures=figures, claims=claims, values=values)
