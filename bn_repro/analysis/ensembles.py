"""Ensembles by the arithmetic mean of class probabilities (sec. 4.2.3), from what runs keep.

The probabilities are those of ``bn-repro evaluate``, a file per run and way of evaluating it. A
study's report needs less: :func:`table`, which is small enough to be committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from bn_repro.analysis import frames, intervals
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.tables import KEY, Member, unpacked
from bn_repro.records import paths
from bn_repro.records.reader import read_evaluations

COLUMNS = [
    *KEY,
    *("crops", "statistics", "split", "step", "models", "members", "images"),
    *("loss", "top1", "top5", "gained", "lost", "right_top1", "right_top5"),
]
"""Of :func:`table`: accuracies are fractions. In a row of an ensemble ``members`` counts its
networks from 1 ("1+4"), and ``gained`` and ``lost`` are the images that it has right and its best
member wrong, and the other way round. ``right_top1`` and ``right_top5`` say which images a network,
or a whole ensemble, has right: ``np.packbits`` of them, in hexadecimal digits."""
NAME = "ensemble"
"""The value of ``experiment`` in an ensemble's rows."""
WAYS = tuple(product((1, 144), ("moving", "population")))
"""Crops and statistics."""

Rows = list[dict[str, Any]]
Run = TypeVar("Run")


def makes_ensembles(block: str) -> bool:
    """Whether a study's block, by its name, gives each ensemble a network."""
    return block.startswith("ensemble")


def grouped(runs: Sequence[Run], blocks: Callable[[Run], Iterable[str]]) -> list[list[Run]]:
    """The networks of each ensemble of a study, by the ``blocks`` that ask for a run.

    Every block whose name begins with ``ensemble`` gives each ensemble one network: their first
    runs are the first ensemble, their second runs the second. None where a block lacks runs that
    another has, since it is not known then which belong together.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        for block in blocks(run):
            if makes_ensembles(block):
                members.setdefault(block, []).append(run)
    if len({len(own) for own in members.values()}) > 1:
        return []
    return [list(ensemble) for ensemble in zip(*members.values(), strict=True)]


def read(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (members, n, classes) and the labels (n,) that all members were asked about.

    ValueError for a file that cannot be read, and for members that saw different examples.
    """
    probabilities, labels = [], None
    for path in files:
        try:
            with open(path, "rb") as content, np.load(content) as file:
                of_member, asked = file["probabilities"], file["labels"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path}: not readable ({error}); evaluate with force=true") from None
        if labels is not None and not np.array_equal(asked, labels):
            raise ValueError(f"{path}: other examples than in {files[0]}: no ensemble")
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
    """A difference of two accuracies on the same images, with its Student interval over them.

    ``gained`` images are right for the first alone, ``lost`` for the second alone.
    """
    counts = [int(gained), int(lost), int(images - gained - lost)]
    return intervals.interval(np.repeat([1.0, -1.0, 0.0], counts))


@dataclass(frozen=True)
class Scores:
    """Several networks, or several ensembles, by one way of evaluating them.

    ``accuracy`` is by seed, or by number, and ``right`` the same image by image (a row each, a
    column an image) of those whose answers are known.
    """

    accuracy: pd.Series
    right: pd.DataFrame


def scores(rows: dict[int, dict[str, Any]], metric: str = "top1") -> Scores:
    """Of rows by seed, or by number, as :func:`errors` gives them."""
    accuracy = pd.Series({key: 1 - row[metric] for key, row in rows.items()}, dtype=float)
    digits = {key: frames.plain(row[f"right_{metric}"]) for key, row in rows.items()}
    known = {k: unpacked(_bytes(own), rows[k]["images"]) for k, own in digits.items() if own}
    right = pd.DataFrame.from_dict(known, orient="index", dtype=float)
    accuracy.update(right.mean(axis=1))  # by one rule for ties: a network's own is by logits
    return Scores(accuracy.dropna(), right)


def _bytes(digits: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(digits), np.uint8)


def _digits(right: np.ndarray) -> str:
    return np.packbits(right).tobytes().hex()


def errors(table: pd.DataFrame, **which: Any) -> Rows:
    """The rows of :func:`table` by moving averages, ``top1`` and ``top5`` as errors (maybe NaN)."""
    found = frames.select(table.reindex(columns=COLUMNS), statistics="moving", **which)
    rows: Rows = found.to_dict("records")  # pyright: ignore[reportAssignmentType]
    return [row | {name: 1 - float(row[name]) for name in ("top1", "top5")} for row in rows]


def by_size(rows: Rows, metric: str = "top1") -> dict[int, list[float]]:
    """The errors of the ensembles of 1, 2, ... networks among ``rows``."""
    sizes = sorted({int(row["models"]) for row in rows})
    return {k: [row[metric] for row in rows if row["models"] == k] for k in sizes}


@dataclass(frozen=True)
class Ensemble:
    """A set of networks; ``rows``, as :func:`errors` gives them, has one for each subset, single
    networks first, all of them last."""

    rows: Rows

    @property
    def all(self) -> dict[str, Any]:
        """The row of all of them together."""
        return self.rows[-1]

    def by_size(self, metric: str = "top1") -> dict[int, list[float]]:
        """The errors of all ensembles of 1, 2, ... networks."""
        return by_size(self.rows, metric)

    @property
    def lead(self) -> Interval:
        """Their accuracy minus that of their best network, with its interval over images."""
        return over_images(self.all["gained"], self.all["lost"], self.all["images"])


def ensemble(table: pd.DataFrame, members: Sequence[Member], crops: int) -> Ensemble | None:
    """The networks together, by so many crops; None where ``table`` does not have them."""
    rows = errors(table, experiment=NAME, id=name_of(members), crops=crops)
    rows = sorted(rows, key=lambda row: row["models"])
    return Ensemble(rows) if rows else None


def name_of(ensemble: Sequence[Member]) -> str:
    """What stands for the id in the rows of this ensemble."""
    return hashlib.sha256(repr([m.key for m in ensemble]).encode()).hexdigest()[:8]


def table(
    members: Sequence[Member], together: Sequence[Sequence[Member]], committed: pd.DataFrame
) -> pd.DataFrame:
    """A row per member and evaluation of it, and per subset of each ensemble: see COLUMNS.

    From the members' run directories; where there is none, or no evaluation in it, the rows that
    are ``committed`` stay, those of the ensemble only as long as they agree with its members'.
    """
    before: Rows = committed.to_dict("records")  # pyright: ignore[reportAssignmentType]
    rows: Rows = []
    for member in members:
        kept = [r for r in before if _key(r) == member.key]
        rows += _of_member(member, kept) or kept
    for ensemble, way in product(together, WAYS):
        name = name_of(ensemble)
        kept = [r for r in before if _key(r)[:2] == (NAME, name) and _way(r) == way]
        rows += _of_subsets(ensemble, name, *way) or _still_true(kept, ensemble, rows)
    return pd.DataFrame(rows, columns=COLUMNS)


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["experiment"], row["id"], row["seed"]


def _way(row: dict[str, Any]) -> tuple[int, str]:
    return row["crops"], row["statistics"]


def _of_member(member: Member, kept: Rows) -> Rows:
    """Its evaluations; what they have right from its files, or as ``kept`` where these are gone."""
    if member.directory is None:
        return []
    key = dict(zip(KEY, member.key, strict=True))
    rows: Rows = []
    for row in read_evaluations(member.directory):
        file = paths.predictions_file(member.directory, *_way(row))
        same = [r for r in kept if _way(r) == _way(row) and abs(r["top1"] - row["top1"]) < 1e-5]
        answers = _answers(*read([file])) if file.exists() else {}
        rows.append({**(same[0] if same else {}), **key, "models": 1, **answers, **row})
    return rows


def _answers(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What a row says image by image, of the mean of ``probabilities`` (members, n, classes)."""
    before = ahead(mean(probabilities), labels)
    right = {"right_top1": _digits(before < 1), "right_top5": _digits(before < 5)}
    return {"images": len(labels), **right}


def _of_subsets(members: Sequence[Member], name: str, crops: int, statistics: str) -> Rows:
    """A row per subset, the single networks among them; none unless all members have files."""
    folders = [m.directory for m in members if m.directory is not None]
    files = [paths.predictions_file(folder, crops, statistics) for folder in folders]
    if len(files) < max(1, len(members)) or not all(file.exists() for file in files):
        return []
    like = [row for row in read_evaluations(folders[0]) if _way(row) == (crops, statistics)]
    probabilities, labels = read(files)
    right = [ahead(p, labels) == 0 for p in probabilities]
    rows = []
    for models, row in product(range(1, len(members) + 1), like):
        for subset in combinations(range(len(members)), models):
            together = mean(probabilities[list(subset)])
            measured = measure(together, labels)
            whole = _answers(probabilities, labels) if models == len(members) else {}
            ours, best = ahead(together, labels) == 0, max((right[i] for i in subset), key=np.sum)
            rows.append(
                {key: measured.get(key, value) for key, value in row.items()}
                | {"experiment": NAME, "id": name, "seed": None, "step": None, "models": models}
                | {"members": "+".join(str(i + 1) for i in subset), "images": len(labels)}
                | {"gained": int((ours & ~best).sum()), "lost": int((best & ~ours).sum())}
                | whole
            )
    return rows


def _still_true(kept: Rows, members: Sequence[Member], rows: Rows) -> Rows:
    """Committed rows of an ensemble, unless one of its networks has changed since."""
    now = {(_key(r), _way(r)): r["top1"] for r in rows}
    for row in kept:
        if row["models"] == 1:
            top1 = now.get((members[int(row["members"]) - 1].key, _way(row)), np.nan)
            if not abs(top1 - row["top1"]) < 1e-5:
                return []
    return kept
