"""Ensembles by the arithmetic mean of class probabilities (sec. 4.2.3), from what runs keep.

The probabilities are those of ``scripts/evaluate.py``, a file per run and way of evaluating it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bn_repro import rundir
from bn_repro.analysis import intervals
from bn_repro.analysis.intervals import Interval


def evaluations(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's ``evaluation.jsonl``; none where there is no such file."""
    path = directory / rundir.EVALUATION
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); remove it and evaluate again") from None


def read(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (members, n, classes) and the labels (n,) that all members were asked about.

    ValueError for a file that cannot be read, and for members that saw different examples.
    """
    probabilities, labels = [], None
    for path in paths:
        try:
            with np.load(path) as file:
                of_member, asked = file["probabilities"], file["labels"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{path}: not readable ({error}); evaluate with force=true") from None
        if labels is not None and not np.array_equal(asked, labels):
            raise ValueError(f"{path}: other examples than those of {paths[0]}: no ensemble")
        labels = asked
        probabilities.append(of_member)
    assert labels is not None, "at least one member"
    return np.stack(probabilities), labels


def mean(probabilities: np.ndarray) -> np.ndarray:
    """The prediction of all members together: their mean, (n, classes), in float64."""
    return probabilities.mean(axis=0, dtype=np.float64)


def ahead(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the true one: (n,); 0 is top-1, below 5 is top-5."""
    of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1)
    return (probabilities > of_truth).sum(axis=1)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``loss``, ``top1`` and ``top5`` of probabilities (n, classes)."""
    of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1).astype(np.float64)
    before = ahead(probabilities, labels)
    return {
        "loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
        "top1": float((before < 1).mean()),
        "top5": float((before < 5).mean()),
    }


def over_images(gained: float, lost: float, images: float) -> Interval:
    """A difference of two accuracies on the same images, with its bootstrap interval over them.

    ``gained`` images are right for the first alone, ``lost`` for the second alone. Resampling
    images with replacement draws these two counts from a multinomial distribution.
    """
    n = int(images)
    shares = np.array([gained, lost, n - gained - lost]) / n
    drawn = np.random.default_rng(intervals.SEED).multinomial(n, shares, intervals.RESAMPLES)
    values = np.sort((drawn[:, 0] - drawn[:, 1]) / n)
    cut = int(intervals.tail(n) * intervals.RESAMPLES)
    return Interval((gained - lost) / n, float(values[cut]), float(values[-1 - cut]), n)
