"""BN as a regularizer (sec. 3.4): the gap, the other examples of a mini-batch, dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies.dropout import MARGIN
from bn_repro.analysis.studies.regularization_runs import (
    DROPOUTS,
    MINI_BATCHES,
    PAIRS,
    WHERE,
    Setting,
    figures,
    setting,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

SECTION = "3.4"


def claims(runs: Runs) -> Iterator[Claim]:
    """The gap and the mini-batches for both networks, and dropout for Inception."""
    for block in PAIRS:
        yield from _gaps(runs, block)
        yield from _mini_batches(runs, block)
    yield from _dropout(runs)


def _gaps(runs: Runs, block: str) -> Iterator[Claim]:
    without, with_bn = (setting(runs, block, arm) for arm in PAIRS[block])
    fixed = setting(runs, block, with_bn.arm, "fixed_batches")
    words = "Training accuracy minus test accuracy at the last step, "
    yield Claim(
        f"{block.lower()}_bn_gap_difference",
        f"In {WHERE[block]}, BN narrows the gap between training and test.",
        SECTION,
        q.difference(with_bn.gap, without.gap, f"{words}with BN minus without"),
        Below(),
        depends_on="the rate, the length",
    )
    yield Claim(
        f"{block.lower()}_companions_gap_difference",
        f"In {WHERE[block]} with BN, mini-batches drawn anew each epoch narrow the gap between "
        "training and test.",
        SECTION,
        q.difference(with_bn.gap, fixed.gap, f"{words}mini-batches drawn anew minus fixed ones"),
        Below(),
    )


def _mini_batches(runs: Runs, block: str) -> Iterator[Claim]:
    without_gain, gain = (_gain(runs, block, arm) for arm in PAIRS[block])
    change, stay = (setting(runs, block, PAIRS[block][1], kind) for kind in MINI_BATCHES)
    words = "Test accuracy at the last step, mini-batches drawn anew each epoch minus fixed ones"
    yield Claim(
        f"{block.lower()}_companions_difference",
        f"In {WHERE[block]} with BN, mini-batches drawn anew each epoch raise the test accuracy.",
        f"{SECTION}, 4.2.1",
        _higher(change, stay, words),
        Above(),
        "about 1 % of validation accuracy, by more thorough shuffling in BN-x5",
    )
    yield Claim(
        f"{block.lower()}_companions_by_bn_difference",
        f"In {WHERE[block]}, mini-batches drawn anew each epoch raise the test accuracy by more "
        "with BN than without.",
        SECTION,
        q.difference(gain, without_gain, f"{words}: with BN minus the same without BN"),
        Above(),
    )


def _gain(runs: Runs, block: str, arm: Arm, split: str = "test") -> pd.Series:
    """Accuracy that drawing mini-batches anew adds, by seed."""
    change, stay = (setting(runs, block, arm, kind).top1(split) for kind in MINI_BATCHES)
    return (change - stay).dropna()


def _dropout(runs: Runs) -> Iterator[Claim]:
    (none, some), (none_bn, some_bn) = (
        [setting(runs, "Inception", arm, dropout=dropout) for dropout in DROPOUTS]
        for arm in PAIRS["Inception"]
    )
    words = f"Test accuracy at the last step with dropout {DROPOUTS[1]:g} minus without"
    yield Claim(
        "dropout_without_bn_difference",
        "Without BN dropout raises Inception's test accuracy.",
        "3.4, 4.2.1",
        _higher(some, none, words),
        Above(),
    )
    yield Claim(
        "no_dropout_with_bn_difference",
        "With BN Inception is as accurate without dropout.",
        "3.4, 4.2.1",
        _higher(
            none_bn,
            some_bn,
            f"Test accuracy at the last step without dropout minus with {DROPOUTS[1]:g} (up to "
            f"{100 * MARGIN:g} points less count as just as good, fixed beforehand)",
        ),
        Above(-MARGIN),
    )


def _higher(a: Setting, b: Setting, words: str) -> Quantity:
    images = a.runs.right(), b.runs.right()
    ends = a.top1("test"), b.top1("test")
    return q.difference(*ends, f"{words}. {q.AT_CHANCE}", images=images)


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows = [["network", "arm", "mini-batches", "dropout", "training", "test", "gap, points"]]
    for block, arms in PAIRS.items():
        for dropout in DROPOUTS if block == "Inception" else (0.0,):
            for arm in arms:
                for shuffling, words in MINI_BATCHES.items():
                    found = setting(runs, block, arm, shuffling, dropout)
                    if len(found.gap.dropna()):
                        accuracies = [percent(found.top1(split)) for split in ("train", "test")]
                        gap = points(found.gap).replace(" points", "")
                        rows.append([block, arm.label, words, f"{dropout:g}", *accuracies, gap])
    lead = {}
    for block, arms in PAIRS.items():
        without, with_bn = (setting(runs, block, arm).top1("test") for arm in arms)
        lead[block] = (with_bn - without).dropna()
    gains = {block: [_gain(runs, block, arm) for arm in arms] for block, arms in PAIRS.items()}
    fits = {block: _gain(runs, block, arms[1], "train") for block, arms in PAIRS.items()}
    table = rows if len(rows) > 1 else []
    return {"table": table, "gains": gains, "lead": lead, "fits": fits}


STUDY = Study(prose="regularization.md.j2", figures=figures, claims=claims, values=values)
