"""Of Figure 4's studies: their networks, the errors by one crop and by 144, and the ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bn_repro.analysis import ensembles
from bn_repro.analysis.ensembles import Ensemble, Scores
from bn_repro.analysis.studies.inception import BN_X30
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import KEY, Member, Runs

SINGLE, MULTI = 1, 144
CROPS = {SINGLE: "single crop", MULTI: "144 crops"}
PLAIN = BN_X30.with_(label="plain BN-x30", keys={"block": ["plain"]})
SIX = Arm("the six", "#a08a00", "-", "s", {"block": [f"ensemble {i}" for i in range(1, 7)]})
ERRORS = ["top1", "top5"]

ByCrops = dict[int, dict[str, Any]]
"""A network's rows, as ``ensembles.errors`` gives them, by the number of crops."""


def ensembles_of(members: Sequence[Member], arm: Arm) -> list[list[Member]]:
    """The networks of each ensemble of the changed networks; of plain BN-x30 all are one."""
    if arm is SIX:
        grouped = ensembles.grouped(members, lambda member: member.blocks.split("+"))
        return [each for each in grouped if len(each) == len(SIX.keys["block"])]
    return [[m for m in members if "plain" in m.blocks.split("+")]]


def extra(members: Sequence[Member], committed: pd.DataFrame) -> pd.DataFrame:
    """A row per network and evaluation of it, and per subset of each ensemble."""
    together = [each for arm in (SIX, PLAIN) for each in ensembles_of(members, arm)]
    return ensembles.table(members, together, committed)


def networks(runs: Runs, arm: Arm) -> list[tuple[Member, ByCrops]]:
    """The arm's networks that were evaluated, each with its rows, in the study's order."""
    found = []
    for member in runs.planned(**arm.keys):
        rows = ensembles.errors(runs.extra, **dict(zip(KEY, member.key, strict=True)))
        found += [(member, {int(row["crops"]): row for row in rows})] if rows else []
    return found


def settings(runs: Runs) -> list[tuple[str, Arm, list[ByCrops]]]:
    """Each kind of network, plain BN-x30 first: in words, its arm, and the rows of its seeds."""
    found: dict[str, tuple[str, Arm, list[ByCrops]]] = {}
    for arm in (PLAIN, SIX):
        for member, rows in networks(runs, arm):
            words = label(member)
            found.setdefault(words, (words, arm, []))[2].append(rows)
    return list(found.values())


def with_members(runs: Runs, arm: Arm, crops: int) -> list[tuple[Ensemble, list[Member]]]:
    """The arm's ensembles that were evaluated by so many crops, and their networks."""
    planned = ensembles_of(runs.members, arm)
    found = [(ensembles.ensemble(runs.extra, each, crops), each) for each in planned]
    return [(ensemble, members) for ensemble, members in found if ensemble]


def together(runs: Runs, arm: Arm, crops: int) -> list[Ensemble]:
    """The arm's ensembles that were evaluated by so many crops."""
    return [ensemble for ensemble, _ in with_members(runs, arm, crops)]


def errors(runs: Runs, arm: Arm, crops: int, metric: str = "top1") -> list[float]:
    """The errors of the arm's networks alone, every seed."""
    return [rows[crops][metric] for _, rows in networks(runs, arm) if crops in rows]


def scores(runs: Runs, arm: Arm, crops: int, metric: str = "top1") -> Scores:
    """The arm's networks alone, by seed."""
    found = networks(runs, arm)
    return ensembles.scores({m.seed: rows[crops] for m, rows in found if crops in rows}, metric)


def scores_together(runs: Runs, crops: int, metric: str = "top1") -> Scores:
    """The ensembles of the six, by number."""
    rows = {k: found.all for k, found in enumerate(together(runs, SIX, crops), start=1)}
    return ensembles.scores(rows, metric)


def label(member: Member) -> str:
    """What a network changes of BN-x30, in words."""
    words = {
        "model.init_gain": lambda v: f"weights x{v:g}",
        "model.dropout": lambda v: f"dropout {100 * v:g} %",
        "model.per_activation_modules": lambda v: (
            f"BN per activation in the last {'module' if v == 1 else f'{v} modules'}"
        ),
    }
    changes = [words[k](v) if k in words else f"{k}={v}" for k, v in member.varied.items()]
    return ", ".join(changes) or "BN-x30"
