"""The seven changes of section 4.2.1, each alone: removed from BN-x5, and added to BN-Baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bn_repro import paper
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, InEach, Provided
from bn_repro.analysis.studies.ablation_421_figures import figures
from bn_repro.analysis.studies.ablation_421_runs import (
    BASES,
    CHANGES,
    Change,
    Noise,
    Worth,
    block_of,
    changes_of,
    effects,
    final,
    noise,
    number_of_changes,
    worth,
)
from bn_repro.analysis.studies.inception import BN_X5
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs


def claims(runs: Runs) -> Iterator[Claim]:
    """All seven changes together, and each in both directions."""
    last = f"Accuracy at the last step. {q.AT_CHANCE}"
    yield Claim(
        "all_seven_difference",
        "All seven changes together (BN-x5 over BN-Baseline) train better.",
        "4.2.1, 4.2.2",
        _mean(worth(runs, None, [BN_X5]), f"{last}. BN-x5 minus BN-Baseline, paired by seed"),
        Above(),
        paper.higher("bn_x5", "bn_baseline"),
        effect=paper.gap("bn_x5", "bn_baseline"),
    )
    limits = [noise(runs, base) for base in BASES]
    for change in CHANGES:
        both = worth(runs, change)
        words = (
            f"{last}. With the change ({change.name}) minus without, paired by seed, in two "
            "directions (removed alone from BN-x5, added alone to BN-Baseline), both averaged"
        )
        yield Claim(
            f"{change.name.lower().replace(' ', '_')}_difference",
            change.sentence,
            "4.2.1",
            replace(_mean(both, words), beside=_directions(both)),
            _rule(change, both, limits),
            change.paper,
            change.effect,
            depends_on="the length" if change.block == "decay" else "",
        )


def _mean(directions: Sequence[Worth], words: str) -> Quantity:
    """The mean of one direction, or of two."""
    images = [one.by_image for one in directions if one.by_image is not None]
    gained = np.mean(images, axis=0) if images else None
    by_seed = pd.concat([one.by_seed for one in directions], axis=1).mean(axis=1)
    return q.mean(by_seed, words, gained=gained, parts=[one.interval for one in directions])


def _directions(both: Sequence[Worth]) -> str:
    among, alone = (f"{100 * one.by_seed.mean():+.2f}" for one in both)
    return f"among the others {among}, alone {alone}" if len(both[0].by_seed) else ""


def _rule(
    change: Change, both: Sequence[Worth], limits: Sequence[Noise | None]
) -> Provided | InEach:
    """Each direction on one side of 0; an effect within the noise of seeds decides nothing."""
    if change.tolerated:
        lost = f"a loss of {100 * change.tolerated:g} % of what is above chance without it"
        return InEach("direction", lost)
    outside = all(
        found is not None and abs(one.by_seed.mean()) > found.limit
        for found, one in zip(limits, both, strict=True)
    )
    words = "in each direction the mean effect lies outside the noise of seeds (Findings)"
    return Provided(InEach("direction"), outside, words, "within the noise of seeds")


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    labels = {base.label: base for base in BASES}
    rows, number = [], number_of_changes(runs)
    for change in (None, *changes_of(runs)):
        blocks = [block_of(change, base) for base in BASES if change]
        members = [member for block in blocks for member in runs.planned(block=block)[:1]]
        row: dict[str, Any] = {"name": change.name if change else f"all {number}"}
        row["number"] = 1 + CHANGES.index(change) if change else 0
        row["settings"] = [json.dumps(v).strip('"') for m in members for v in m.varied.values()]
        row["final"] = {label: final(runs, change, base) for label, base in labels.items()}
        row["worth"] = {label: effects(runs, change, base) for label, base in labels.items()}
        rows.append(row)
    means = {of: {row["name"]: row["worth"][of].mean() for row in rows[1:]} for of in labels}
    sums = {of: sum(by_change.values()) for of, by_change in means.items()}
    found = {label: noise(runs, base) for label, base in labels.items()}
    known = found if all(found.values()) else None
    return {"rows": rows, "worth": means, "sums": sums, "noise": known, "number": number}


STUDY = Study(prose="ablation_421.md.j2", figures=figures, claims=claims, values=values)
