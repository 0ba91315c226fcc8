"""A study's runs by setting, as a table."""

from __future__ import annotations

import math
from typing import Any

from bn_repro.analysis import steps_to
from bn_repro.analysis.prose import percent
from bn_repro.analysis.tables import Runs, varied_keys


def arms_table(data: Runs) -> list[list[str]]:
    """A row per experiment and variation: seeds, accuracies, steps to the targets; a head first."""
    columns = {str(name): data.runs[name].tolist() for name in data.runs}
    targets = [name for name in columns if name.startswith("steps_to_")]
    varied = varied_keys(data)
    head = ["experiment", *varied, "seeds", "final top-1", "best top-1"]
    head += [f"steps to {100 * float(name.removeprefix('steps_to_')):g} %" for name in targets]
    columns["final_top1"] = data.final_or_chance().array.tolist()
    arms: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for values in zip(*columns.values(), strict=True):
        run = dict(zip(columns, values, strict=True))
        arms.setdefault((run["experiment"], run["id"]), []).append(run)
    return [head, *(_arm(runs, varied, targets) for runs in arms.values())]


def _arm(runs: list[dict[str, Any]], varied: list[str], targets: list[str]) -> list[str]:
    diverged = sum(run["state"] == "diverged" for run in runs)
    last = max(run["step"] for run in runs)

    def steps(target: str) -> str:
        found = [run[target] for run in runs]
        if diverged == len(runs) and all(map(_missing, found)):
            return "never"  # not "> N": they have ended
        return steps_to.shown(steps_to.median_steps(found), last)

    return [
        f"`{runs[0]['experiment']}`",
        *("" if _missing(runs[0][key]) else str(runs[0][key]) for key in varied),
        f"{len(runs)}" + (f" ({diverged} diverged)" if diverged else ""),
        *(percent([r[k] for r in runs if not _missing(r[k])]) for k in ("final_top1", "best_top1")),
        *map(steps, targets),
    ]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
