"""Whether BN does the work of dropout (abstract, sec. 3.4), on all training images and on few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.frames import shared
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above
from bn_repro.analysis.studies.dropout_figures import figures
from bn_repro.analysis.studies.dropout_runs import ALL, DROPOUT, RATE, Both, Part, read
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

Gained = np.ndarray | None

MARGIN = 0.002
"""A loss of accuracy up to this counts as just as good; fixed before the runs."""

CHOSEN = (
    "An arm's best dropout is the one with the highest mean accuracy on held-out images, each "
    "dropout at its own best rate; test accuracy is that of the final runs at the last step "
    f"(moving averages). {q.AT_CHANCE}, and arms are paired by seed"
)
ADDS = (
    "What dropout adds: the arm's test accuracy with its best dropout minus that without dropout; "
    "exactly 0 where the best is no dropout"
)


def claims(runs: Runs) -> Iterator[Claim]:
    """Three for each number of training images, most images first."""
    for both in read(runs):
        yield from _claims(both)


def _claims(both: Both) -> Iterator[Claim]:
    base, bn, on, number = both.base, both.bn, f"On {both.images}", both.limit or ALL
    yield Claim(
        f"dropout_gain_{number}_difference",
        f"{on} BN reduces what dropout adds.",
        "abstract, 3.4",
        _quantity(
            f"{ADDS}. The difference is what it adds to the baseline minus what it adds to BN",
            base.change("test", base.best()) - bn.change("test", bn.best()),
            _minus(_gained(base, base.best(), base, 0.0), _gained(bn, bn.best(), bn, 0.0)),
        ),
        Above(),
    )
    yield Claim(
        f"bn_alone_{number}_difference",
        f"{on} BN without dropout is at least as good as the baseline with its best dropout.",
        "abstract, 3.4, 4.2.1",
        _quantity(
            "BN without dropout minus the baseline with its best (up to "
            f"{100 * MARGIN:g} points less count as just as good, fixed beforehand)",
            both.alone(),
            _gained(bn, 0.0, base, base.best()),
        ),
        Above(-MARGIN),
    )
    yield Claim(
        f"both_together_{number}_difference",
        f"{on} dropout still helps a network with BN.",
        "3.4, 4.2.1",
        _quantity(
            "BN with its best dropout other than none minus BN without",
            bn.change("test", bn.best(nonzero=True)),
            _gained(bn, bn.best(nonzero=True), bn, 0.0),
        ),
        Above(),
    )


def _quantity(words: str, values: pd.Series, gained: np.ndarray | None) -> Quantity:
    return q.mean(values, f"{CHOSEN}. {words}", gained=gained)


def _gained(a: Part, a_dropout: float | None, b: Part, b_dropout: float | None) -> Gained:
    """What the first network gains over the second at each test image; None where unknown."""
    tests = (part.of("test", d) for part, d in ((a, a_dropout), (b, b_dropout)))
    return q.gained_at(*shared(*tests), (a.right(a_dropout), b.right(b_dropout)))


def _minus(a: Gained, b: Gained) -> Gained:
    return None if a is None or b is None else a - b


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = read(runs)
    tuned = [
        (rate[0], part.tuned.axes[1])
        for both in found
        for part in both.parts
        if part.tuned
        for dropout in part.tuned.axes[0]
        if (rate := part.tuned_rate(dropout))
    ]
    lost = [
        f"{part.arm.label}, dropout {dropout:g}, on {both.images}: {part.lost(dropout)[0]} of "
        f"{part.lost(dropout)[1]}"
        for both in found
        for part in both.parts
        for dropout in both.dropouts
        if part.lost(dropout)[0]
    ]
    return {
        "found": found,
        "dropout_table": dropout_table,
        "settings": len(tuned),
        "lowest": sum(rate == rates[0] for rate, rates in tuned),
        "highest": sum(rate == rates[-1] for rate, rates in tuned),
        "lost": lost,
    }


def dropout_table(both: Both) -> list[list[str]]:
    """A row per dropout and arm, bold where held-out images choose it; a head first."""
    rows = [["dropout", "arm", "learning rate", "held-out", "training", "test", "gap, points"]]
    for dropout in both.dropouts:
        for part in both.parts:
            tuned = part.tuned_rate(dropout)
            mark = "**" if dropout == part.best() else ""
            gap = part.of("gap", dropout).dropna()
            rows.append(
                [
                    f"{mark}{dropout:g}{mark}",
                    part.arm.label,
                    _rate(part, dropout),
                    "-" if tuned is None else percent(tuned[1]),
                    percent(part.of("train", dropout)),
                    percent(part.of("test", dropout)),
                    points(gap).replace(" points", "") if len(gap) else "-",
                ]
            )
    return rows


def _rate(part: Part, dropout: float) -> str:
    """The rate of the final runs, else the grid's best; says where it is an end of the grid, or no
    longer its best."""
    tuned = part.tuned_rate(dropout)
    own = part.test.where(**{DROPOUT: dropout}).rows[RATE].tolist()
    rate = own[0] if own else tuned[0] if tuned else None
    if rate is None or part.tuned is None:
        return "-" if rate is None else f"{rate:g}"
    tried = part.tuned.axes[1]
    end = {tried[0]: " (lowest)", tried[-1]: " (highest)"}.get(rate, "")
    other = "" if tuned is None or tuned[0] == rate else f", not the best, {tuned[0]:g}"
    return f"{rate:g}{end}{other}"


STUDY = Study("dropout.md.j2", figures, claims, values=values, targets=(0.9, 0.95))
