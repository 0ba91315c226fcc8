"""Of ``fig4``: its networks, their errors by one crop and by 144, and their ensembles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bn_repro.analysis import ensembles
from bn_repro.analysis.studies.inception import BN_X30
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import KEY, Member, Runs

SINGLE, MULTI = 1, 144
CROPS = {SINGLE: "single crop", MULTI: "144 crops"}
PLAIN = BN_X30.with_(label="plain BN-x30", keys={"block": ["plain"]})
SIX = Arm("the six", "#a08a00", "-", "s", {"block": [f"ensemble {i}" for i in range(1, 7)]})
ERRORS = ["top1", "top5"]


def members_of(members: Sequence[Member], arm: Arm) -> list[Member]:
    """The arm's planned networks, in the study's order."""
    return [m for m in members if set(arm.keys["block"]).intersection(m.blocks.split("+"))]


def extra(members: Sequence[Member], committed: pd.DataFrame) -> pd.DataFrame:
    """A row per network and evaluation of it, and per subset of the six and of the plain ones."""
    return ensembles.table(members, [members_of(members, arm) for arm in (SIX, PLAIN)], committed)


def networks(runs: Runs, *arms: Arm) -> list[tuple[Member, dict[int, dict[str, float]]]]:
    """The arms' networks that were evaluated, each with its errors by the number of crops."""
    found = []
    for member in (m for arm in arms for m in members_of(runs.members, arm)):
        rows = ensembles.errors(runs.extra, **dict(zip(KEY, member.key, strict=True)))
        errors = {int(row["crops"]): {name: row[name] for name in ERRORS} for row in rows}
        found += [(member, errors)] if errors else []
    return found


def together(runs: Runs, arm: Arm, crops: int) -> ensembles.Ensemble | None:
    """The ensemble of the arm's networks; None where it was not evaluated."""
    return ensembles.ensemble(runs.extra, members_of(runs.members, arm), crops)


def plain_errors(runs: Runs, crops: int, metric: str = "top1") -> list[float]:
    """The errors of BN-x30 itself, every seed."""
    return [errors[crops][metric] for _, errors in networks(runs, PLAIN) if crops in errors]


def changes(runs: Runs, metric: str = "top1") -> np.ndarray:
    """What 144 crops take off each network's error by a single crop, in the study's order."""
    pairs = [e for _, e in networks(runs, PLAIN, SIX) if set(CROPS) <= set(e)]
    return np.array([e[SINGLE][metric] - e[MULTI][metric] for e in pairs])


def label(member: Member) -> str:
    """What a network changes of BN-x30, in words."""
    last = {1: "5b", 2: "5a, 5b"}
    words = {
        "model.init_gain": lambda v: f"weights x{v:g}",
        "model.dropout": lambda v: f"dropout {100 * v:g} %",
        "model.per_activation_modules": lambda v: f"BN per activation in {last.get(v, v)}",
    }
    changes = [words[k](v) if k in words else f"{k}={v}" for k, v in member.varied.items()]
    return ", ".join(changes) or f"BN-x30, seed {member.seed}"
