"""What the template of ``bn_alone`` shows besides the claims."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import count, every, listed
from bn_repro.analysis.studies import at_rest, inception
from bn_repro.analysis.studies.bn_alone_runs import LATE, SETTINGS, WEIGHTS, Cell, cell
from bn_repro.analysis.studies.bn_alone_weights import steps_taken
from bn_repro.analysis.tables import Runs

ASKED = ("BN alone is faster", "Inception is faster", "not decided", "Inception fails")


def values(runs: Runs) -> dict[str, Any]:
    """What came out at each setting, as words and as a table."""
    runs = at_rest.on_the_same_images(runs)
    cells = [found for setting in SETTINGS if (found := cell(runs, setting)).seeds]
    judged = [c for c in cells if c.seeds >= ENOUGH_SEEDS]
    outcomes = {name: [c for c in judged if c.outcome == name] for name in ASKED}
    outcomes["few"] = [c for c in cells if c.seeds < ENOUGH_SEEDS]
    rows = [row for row in _rows(cells) if len(row) > 1]
    return {
        "missing": _missing(runs),
        "outcomes": {name: _settings(some) for name, some in outcomes.items() if some},
        "along": [_along(row) for row in rows],
        "rising": sum(map(_rises, rows)),
        "table": _table(runs, cells),
        "steps_taken": steps_taken(runs),
    }


def _rows(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells with a factor that share all but the rate, by rate."""
    asked = [c for c in cells if c.trains]
    rows = itertools.groupby(asked, lambda c: (c.setting.start, c.setting.depth))
    return [list(row) for _, row in rows]


def _rises(row: Sequence[Cell]) -> bool:
    factors = [c.race.fewer().estimate for c in row]
    return factors == sorted(set(factors))


def _along(row: Sequence[Cell]) -> str:
    """``He, four modules: 1.20, 1.80 and 3.50 at rates 0.005, 0.02 and 0.08``."""
    first = row[0].setting
    factors, rates = (
        listed(words)
        for words in ([_estimate(c) for c in row], [f"{c.setting.rate:g}" for c in row])
    )
    return f"{first.start}, {first.depth} modules: {factors} at rates {rates}"


def _settings(cells: Sequence[Cell]) -> str:
    """``He, four modules, rates 0.02 (1.80) and 0.08 (3.50), and ...``, with the factors."""
    rows = itertools.groupby(cells, lambda c: (c.setting.start, c.setting.depth))
    found = []
    for (start, depth), row in rows:
        rates = [f"{c.setting.rate:g}" + (f" ({_estimate(c)})" if c.trains else "") for c in row]
        plural = "s" * (len(rates) > 1)
        found.append(f"{start}, {depth} modules, rate{plural} {listed(rates)}")
    return ", and ".join(found)


def _estimate(cell: Cell) -> str:
    """The factor without its interval."""
    return cell.factor.split(" [")[0]


def _missing(runs: Runs) -> list[str]:
    """The blocks that lack planned runs: ``Xavier (2 of 60 runs)``."""
    counts = [
        (block, len(runs.where(block=block).runs), len(runs.planned(block=block)))
        for block in (*WEIGHTS, LATE)
    ]
    return [
        f"{b} ({here} of {count(planned, 'run')})" for b, here, planned in counts if here < planned
    ]


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
