"""What the template of ``bn_alone`` shows besides the claims."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import count, every, listed
from bn_repro.analysis.studies import converged, inception
from bn_repro.analysis.studies.bn_alone_runs import LATE, SETTINGS, WEIGHTS, Cell, cell
from bn_repro.analysis.studies.bn_alone_weights import steps_taken
from bn_repro.analysis.studies.inception import INCEPTION
from bn_repro.analysis.tables import Runs

ASKED = ("BN alone is faster", "Inception is faster", "not decided", "Inception fails")
SAID = {
    "BN alone is faster": "BN alone is faster",
    "Inception is faster": "Inception is faster",
    "not decided": "which is faster is undecided",
    "Inception fails": "at least one run of Inception fails",
}


def values(runs: Runs) -> dict[str, Any]:
    """What came out at each setting, as counts, in words, and as a table."""
    runs = converged.on_the_same_images(runs)
    cells = [found for setting in SETTINGS if (found := cell(runs, setting)).seeds]
    judged = [c for c in cells if c.seeds >= ENOUGH_SEEDS]
    blocks = [INCEPTION.with_(label=b, keys={"block": b}) for b in (*WEIGHTS, LATE)]
    rows = itertools.groupby(judged, lambda c: (c.setting.start, c.setting.depth))
    return {
        "missing": inception.missing(runs, blocks),
        "judged": len(judged),
        "few": len(cells) - len(judged),
        "outcomes": {name: sum(c.outcome == name for c in judged) for name in ASKED},
        "only_bn": sum(c.outcome == "Inception fails" and not any(c.bn_failed) for c in judged),
        "weakest": _weakest([c for c in judged if c.outcome == "BN alone is faster"], runs),
        "lower": _lower(judged),
        "along": [f"{start}, {depth} modules: {_along(list(row))}" for (start, depth), row in rows],
        "table": _table(runs, cells),
        "steps_taken": steps_taken(runs),
    }


def _along(row: Sequence[Cell]) -> str:
    """``BN alone is faster at rates 0.02 (1.80 times) and 0.08 (3.50 times); which is ...``."""
    parts = []
    for outcome in ASKED:
        some = [c for c in row if c.outcome == outcome]
        rates = [f"{c.setting.rate:g}" + (f" ({_times(c)})" if c.trains else "") for c in some]
        if some:
            parts.append(f"{SAID[outcome]} at rate{'s' * (len(rates) > 1)} {listed(rates)}")
        if outcome == "Inception fails" and some:
            failed = [bad for c in some for bad in c.bn_failed]
            trains = f"{len(failed) - sum(failed)} of {count(len(failed), 'run')}"
            parts[-1] += f" (there {trains} of BN-Baseline train)"
    return "; ".join(parts)


def _weakest(cells: Sequence[Cell], runs: Runs) -> dict[str, Any]:
    """The setting at which Inception's lowest run is lowest; empty without a setting."""
    lows = [(inception.best(runs, c.setting.inception).min(), c) for c in cells]
    low, found = min(lows, key=lambda pair: pair[0], default=(None, None))
    return {"low": low, "setting": found.setting, "factor": _times(found)} if found else {}


def _lower(cells: Sequence[Cell]) -> list[str]:
    """The settings at which BN's maximum accuracy lies below Inception's, by the interval."""
    return [f"{c.setting} ({c.gap})" for c in cells if c.trains and c.gap.interval.high < 0]


def _times(cell: Cell) -> str:
    """The factor without its interval."""
    factor = cell.factor.split(" [")[0]
    return f"{factor} times" if factor[0].isdigit() else factor


def _table(runs: Runs, cells: Sequence[Cell]) -> list[list[str]]:
    """A row a setting with runs of both networks, a head first."""
    head = ["initial weights", "modules", "rate", "Inception", "BN-Baseline", "times fewer steps"]
    rows = [[*head, "BN minus Inception, points", "seeds", "outcome"]]
    for c in cells:
        s = c.setting
        best = [every(inception.best(runs, arm)) for arm in (s.inception, s.bn)]
        gap = str(c.gap).replace(" points", "").split(" (")[0]
        rows.append(
            [s.start, s.depth, f"{s.rate:g}", *best, c.factor, gap, f"{c.seeds}", c.outcome]
        )
    return rows if cells else []
