"""The seven changes of section 4.2.1, each alone: undone in BN-x5, and made in BN-Baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro import paper
from bn_repro.analysis import intervals, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.rules import Above, InEach, Provided
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


class Change(NamedTuple):
    """One change: the word that its blocks begin with, and what the paper says of it."""

    block: str
    name: str
    sentence: str
    tolerated: float = 0.0
    """The share of the accuracy above chance that the sentence lets the change lose."""
    paper: str = ""


LOSS = "no more than a tenth of the accuracy above chance is lost."
CHANGES = (
    Change(
        "learning rate", "higher learning rate", "With BN a higher learning rate trains better."
    ),
    Change("dropout", "no dropout", "Without dropout the network with BN trains better."),
    Change(
        *("L2 weight", "L2 weight 5 times smaller"),
        "A smaller L2 weight improves the accuracy on validation images.",
    ),
    Change(
        *("decay", "decay 6 times faster"),
        "The learning rate can decay 6 times faster, since the network trains faster: " + LOSS,
        0.1,
    ),
    Change(
        *("LRN", "no local response normalization"),
        "Local response normalization is not necessary with BN: without it " + LOSS,
        0.1,
    ),
    Change(
        *("shuffling", "more thorough shuffling"),
        "More thorough shuffling improves validation accuracy.",
        paper="about +1 point",
    ),
    Change(
        *("distortions", "weaker distortions"),
        "Weaker photometric distortions, and so more real images, are better.",
    ),
)
BASES = (BN_X5, BN_BASELINE)
WAYS = {BN_X5.label: "undone", BN_BASELINE.label: "made"}
"""What is done with one change alone, from each base."""


def block_of(change: Change | None, base: Arm) -> str:
    """The block of the runs that are made from ``base`` by one change; None: of itself."""
    return f"{change.block} {WAYS[base.label]}" if change else "bases"


def final(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """Validation accuracy at the last step, by seed; a diverged run counts as chance."""
    own = runs.where(block=block_of(change, base), experiment=base.keys["experiment"])
    return own.final(diverged=runs.chance).by_seed()


def effects(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """What the change is worth, by seed: the accuracy with it minus without; None: all seven."""
    if change is None:
        return (final(runs, None, BN_X5) - final(runs, None, BN_BASELINE)).dropna()
    made = final(runs, change, base) - final(runs, None, base)
    return (made if base is BN_BASELINE else -made).dropna()


class Noise(NamedTuple):
    """The standard deviation between seeds, and its degrees of freedom."""

    spread: float
    freedom: int
    limit: float
    """How far from 0 the mean effect of a change that does nothing may lie, 19 times in 20."""


def noise(runs: Runs, base: Arm) -> Noise | None:
    """Of the final accuracy, pooled over ``base`` and what is made of it; None where unknown."""
    arms = [final(runs, change, base).to_numpy() for change in (None, *CHANGES)]
    freedom = sum(len(v) - 1 for v in arms if len(v))
    n = max(len(effects(runs, change, base)) for change in CHANGES)
    if freedom < 3 or not n:
        return None
    spread = math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in arms if len(v)) / freedom)
    limit = intervals.student_quantile(0.975, freedom) * spread * math.sqrt(2 / n)
    return Noise(spread, freedom, limit)


def claims(runs: Runs) -> Iterator[Claim]:
    """All seven changes together, and each in both directions."""
    last = "Validation accuracy at the last step"
    bn_x5, baseline = (final(runs, None, base) for base in BASES)
    yield Claim(
        "all_seven_difference",
        "All seven changes together (BN-x5 over BN-Baseline) train better.",
        "4.2.1, 4.2.2",
        q.difference(bn_x5, baseline, f"{last}, BN-x5 minus BN-Baseline"),
        Above(),
        paper.higher("bn_x5", "bn_baseline"),
        effect=paper.gap("bn_x5", "bn_baseline"),
    )
    for change in CHANGES:
        both = [effects(runs, change, base) for base in BASES]
        words = (
            f"{last} with the change ({change.name}) minus without, paired by seed, in two "
            "directions (undone alone in BN-x5, made alone in BN-Baseline), both averaged"
        )
        parts = []
        for worth, base in zip(both, BASES, strict=True):
            if change.tolerated:
                without = final(runs, change if base is BN_X5 else None, base)
                worth = worth + change.tolerated * (without.reindex(worth.index) - runs.chance)
            parts.append(intervals.interval(worth.to_numpy(float)))
        bound = f"a loss of {100 * change.tolerated:g} % of what is above chance without it"
        yield Claim(
            f"{change.name.lower().replace(' ', '_')}_difference",
            change.sentence,
            "4.2.1",
            q.mean((both[0] + both[1]) / 2, words, parts=parts),
            _rule(runs, both, bound if change.tolerated else ""),
            change.paper,
            hangs_on="the length" if change.block == "decay" else "",
        )


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


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_ablation``: what each change is worth, in points, a panel for each direction."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True, sharex=True)
        for ax, base in zip(axes, BASES, strict=True):
            draw_effects(ax, runs, base)
        style.letters(axes)
        rows = ["all seven", *(f"{i}. {k.name}" for i, k in enumerate(CHANGES, start=1))]
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].set_ylim(len(rows) - 0.5, -0.6)
        return {"figure_ablation": figure}


def draw_effects(ax: Axes, runs: Runs, base: Arm) -> Axes:
    """What each change is worth, in points; shaded, what seeds alone make of it."""
    if found := noise(runs, base):
        limit = 100 * found.limit
        ax.axvspan(-limit, limit, color="#e4e4e4", lw=0)
        ax.text(-limit, 0, "noise of seeds ", fontsize=6.5, ha="right", va="center")
    for row, change in enumerate((None, *CHANGES)):
        worth = 100 * effects(runs, change, base).to_numpy()
        if len(worth):
            panels.seeds_of_row(ax, row, worth, base if change else Arm("", style.INK, "-", "D"))
        ax.axhline(row + 0.5, color="#dddddd", lw=0.5 if row else 0.9)
    ax.axvline(0, color=style.INK, lw=0.8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    style.points_axis(ax).set_xlabel("points, with the change minus without")
    ax.set_title("among the other six, in BN-x5" if base is BN_X5 else "alone, in BN-Baseline")
    return ax


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


STUDY = Study("ablation_421.md.j2", figures, claims, arms=BASES, values=values)
