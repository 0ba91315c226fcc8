"""What a dashboard shows of a run's records: the names of its series, its history, its summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bn_repro import paper
from bn_repro.config.learning_rate import learning_rate_at
from bn_repro.config.stored import stored
from bn_repro.records import histograms, paths, reader
from bn_repro.records.accuracy import best_accuracy, final_accuracy, monitored_curve, steps_to
from bn_repro.records.json_files import Tail, read_rows

Row = Mapping[str, Any]
Value = float | list[int]
"""A number, or the counts of a histogram in the bins of ``records.histograms``."""
USUAL = {"train": "batch"}
"""The statistics that a split's plain name stands for; of the other splits, the moving averages."""
TARGETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, paper.FIGURE3_TARGET, 0.8, 0.9, 0.95, 0.97)
"""The accuracies to which a summary counts the steps, of those reached."""


def values_of(row: Row) -> dict[str, Value]:
    """The series of a row of metrics, traces, histograms or timing; a number that is not finite has
    none.

    ``train/loss``, ``test/top1``, ``test_population/top1``; ``trace/hidden3/unit/p50`` and
    ``trace/hidden3/layer/p50``; ``histogram/hidden3``; ``timing/examples_per_second``. A dot, which
    W&B takes for a part of a path, becomes an underscore: ``trace/4a_3x3/unit/p50``.
    """
    if "counts" in row:
        return {f"histogram/{str(row['site']).replace('.', '_')}": row["counts"]}
    if "site" in row:
        site = str(row["site"]).replace(".", "_")
        if row.get("unit"):
            return {}  # of all units, where they are traced, the first is shown
        prefix = f"trace/{site}/{'layer' if row.get('unit') is None else 'unit'}"
    elif "split" in row:
        split, statistics = row["split"], row.get("statistics", "")
        prefix = split if statistics == USUAL.get(split, "moving") else f"{split}_{statistics}"
    else:
        prefix = "timing"
    aside = ("step", "site", "unit", "split", "statistics")
    return {f"{prefix}/{k}": v for k, v in row.items() if k not in aside and v is not None}


def rate_of(directory: Path) -> Callable[[int], float] | None:
    """A run's learning rate as a function of the step, from its ``config.yaml``; None where that is
    of a version with other keys."""
    try:
        made = stored(reader.read_config(directory))
    except ValueError:
        return None
    return lambda step: learning_rate_at(step, made)


class History:
    """What a dashboard is to show of a run as it goes on: each step once, with all of its values.

    Where the loss of a mini-batch is, ``train/learning_rate`` is too: the configuration has it.
    """

    def __init__(self, directory: Path) -> None:
        names = (paths.TRACES, paths.HISTOGRAMS, paths.METRICS, paths.TIMING)
        self._tails = [Tail(directory / name) for name in names]
        self._rate = rate_of(directory)
        self._values: dict[int, dict[str, Value]] = {}

    def steps(self, *, whole_to: float = 0) -> list[tuple[int, dict[str, Value]]]:
        """The steps that are recorded whole and were not given before, in their order.

        A step is whole once a later one is in some file, or where it is known, up to ``whole_to``.
        """
        self._read()
        last = max(self._values, default=0)
        self._read()  # by now the files have all that was recorded before that step
        whole = sorted(step for step in self._values if step <= whole_to or step < last)
        return [(step, self._values.pop(step)) for step in whole]

    def _read(self) -> None:
        for tail in self._tails:
            for row in tail.new_rows():
                if tail.path.name == paths.HISTOGRAMS:
                    histograms.check(row, tail.path)
                values = self._values.setdefault(row["step"], {})
                values |= values_of(row)
                if self._rate is not None and values.keys() & {"train/loss", "train/top1"}:
                    values["train/learning_rate"] = self._rate(row["step"])


def summary_of(directory: Path) -> dict[str, Any]:
    """How a run stands: state, step and seconds, final and best accuracy, steps to :data:`TARGETS`,
    and its later evaluations as ``evaluation/144_moving/top1``.

    The accuracy is by moving averages, on the monitored split: val, or else test.
    """
    status = reader.read_status(directory)
    found: dict[str, Any] = {key: status.get(key) for key in ("state", "step", "seconds")}
    curve = monitored_curve(read_rows(directory / paths.METRICS))
    best_step, best = best_accuracy(curve)
    numbers = {
        "final_top1": final_accuracy(curve),
        "best_step": best_step,
        "best_top1": best,
    }
    numbers |= {steps_key(target): steps_to(curve, target) for target in TARGETS}
    found |= {key: value for key, value in numbers.items() if math.isfinite(value)}
    for row in reader.read_evaluations(directory):
        numbers = {k: v for k, v in row.items() if k in ("loss", "top1", "top5")}
        found |= {evaluation_key(row["crops"], row["statistics"], k): v for k, v in numbers.items()}
    return {key: value for key, value in found.items() if value is not None}


def steps_key(target: float) -> str:
    """``steps_to_90_percent``, ``steps_to_72_2_percent``."""
    return f"steps_to_{100 * target:.3g}_percent".replace(".", "_")


def evaluation_key(crops: int, statistics: str, metric: str) -> str:
    """``evaluation/144_moving/top1``."""
    return f"evaluation/{crops}_{statistics}/{metric}"
