"""A run directory's status, manifest, configuration, evaluations and answers, read and checked.

Its rows are read by :mod:`json_files`.

A file may be older than this code and lack a key, newer and have more, torn by a kill, or not a
run's at all. What cannot be read, or holds a value of the wrong kind, is an :class:`Unreadable`,
one line with the path and the fix; so whoever reads through here need not look again.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bn_repro.records import paths
from bn_repro.records.accuracy import final_accuracy, monitored_curve
from bn_repro.records.errors import START_OVER, Unreadable
from bn_repro.records.json_files import Row, checked, read_object, read_rows

FINISHED = ("completed", "diverged")
"""The states of a run that has nothing left to do."""
UNREADABLE = "unreadable"
"""The state of a run whose status cannot be read; it has not finished."""
DERIVED = "it is written anew when the run is trained again"
"""What to do about a damaged status or manifest: the checkpoint knows the rest."""
NUMBER, TEXT, TEXT_OR_NONE = (int, float), (str,), (str, type(None))
STATUS_KINDS = {
    "state": TEXT,
    "step": (int,),
    "seconds": NUMBER,
    "cause": TEXT_OR_NONE,
    "error": TEXT_OR_NONE,
}
MANIFEST_KINDS = {
    "data": TEXT_OR_NONE,
    "started": TEXT_OR_NONE,
    "engine": TEXT_OR_NONE,
    "threads": (int, type(None)),
    "quarantined": (dict,),
    "passed_over": (dict,),
    "resumed": (list,),
}
EVALUATION_KINDS = {
    **{"crops": (int,), "statistics": TEXT},
    **{"loss": (*NUMBER, type(None)), "top1": (*NUMBER, type(None))},
}
CONFIG_KINDS = {
    **{name: (dict, type(None)) for name in ("model", "data", "optimizer", "train")},
    **{"experiment": TEXT_OR_NONE, "seed": (int,)},
}
CORRECT = ("images", "last_step", "best_step", "last", "last_seen", "best", "best_seen")


# --- a run ----------------------------------------------------------------------------------------


def read_status(directory: Path) -> Row:
    """``status.json``; empty where there is none."""
    path = directory / paths.STATUS
    return checked(path, read_object(path, DERIVED) or {}, STATUS_KINDS, DERIVED)


def read_manifest(directory: Path) -> Row:
    """``manifest.json``; empty where there is none."""
    path = directory / paths.MANIFEST
    facts = checked(path, read_object(path, DERIVED) or {}, MANIFEST_KINDS, DERIVED)
    files = facts.get("quarantined", {}).get("files", [])
    if not (isinstance(files, list) and all(isinstance(line, str) for line in files)):
        raise Unreadable(f"{path}: quarantined.files: expected a list of lines; {DERIVED}")
    return facts


def read_config(directory: Path) -> Row:
    """``config.yaml``, sections within; Unreadable where there is none."""
    path = directory / paths.CONFIG
    # The C loader is ten times faster, and not built everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except FileNotFoundError:
        raise Unreadable(f"{path}: missing") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise Unreadable(f"{path}: not readable as YAML") from None
    if not isinstance(config, dict):
        raise Unreadable(f"{path}: expected a run's configuration, with sections of keys")
    return checked(path, config, CONFIG_KINDS, what="expected a run's configuration; ")


def copy_warning(directory: Path) -> str | None:
    """A line where a run directory holds another run's files: its configuration's seed is not that
    of its name, as after ``cp -r seed0 seed1``."""
    try:
        seed = read_config(directory).get("seed")
    except Unreadable:
        return None
    if seed is None or directory.name == f"seed{seed}":
        return None
    return f"{directory}: its {paths.CONFIG} is of seed {seed}, so it is a copy of that run"


def read_evaluations(directory: Path) -> list[Row]:
    """The rows of ``evaluation.jsonl``, in the order in which they were made."""
    path, fix = directory / paths.EVALUATION, "remove it and evaluate again"
    rows = read_rows(path, fix=fix)
    for row in rows:
        checked(path, {"crops": None, "statistics": None} | row, EVALUATION_KINDS, fix)
    return rows


def read_correct(directory: Path) -> dict[str, Any]:
    """``correct.npz``; empty where there is none.

    ``last`` and ``best`` are bits, one an image, right or wrong, as ``np.packbits`` packs them;
    ``last_seen`` and ``best_seen`` which images were evaluated; ``last_step`` and ``best_step`` the
    evaluations' steps; ``images`` how many there are.
    """
    import numpy as np  # half of what a status display would take to start

    path = directory / paths.CORRECT
    try:
        with open(path, "rb") as content, np.load(content) as file:
            found = {name: file[name] for name in CORRECT}
        return {name: int(value) if value.ndim == 0 else value for name, value in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path}: not readable ({error}); {START_OVER}") from None


def passed_over_line(found: Mapping[str, int]) -> str:
    """What is said of files that lie among the images and are none of a class, by suffix."""
    kinds = (f"{n} {suffix or 'without a suffix'}" for suffix, n in sorted(found.items()))
    count = sum(found.values())
    what = (
        "file that is no image of a class" if count == 1 else "files that are no images of a class"
    )
    return f"data.root: passed over {count} {what}: {', '.join(kinds)}"


def quarantined(directory: Path) -> list[str]:
    """A line for each data file that a run could not read, of all times that it was resumed."""
    try:
        return read_manifest(directory).get("quarantined", {}).get("files", [])
    except Unreadable:
        return []  # whoever trains the run next says so


def passed_over(directory: Path) -> dict[str, int]:
    """How many files of each kind lay among a run's images and were not taken for one."""
    try:
        return read_manifest(directory).get("passed_over", {})
    except Unreadable:
        return {}  # whoever trains the run next says so


# --- how it ended ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, last step, seconds in all, last accuracy, and error."""

    state: str
    step: int
    seconds: float
    top1: float | None = None
    error: str | None = None
    cause: str | None = None
    """``signal``, ``lost``, ``data``, ``disk``, ``divergence`` or ``other``; None: it completed."""


def last_status(directory: Path) -> Outcome:
    """The status of a run, its accuracy left out; ``preempted`` at step 0 where it has none.

    A status is derived from what else there is: one that cannot be read is :data:`UNREADABLE` at
    step 0, with the reason as its error, and its run has not finished.
    """
    try:
        status = read_status(directory)
    except Unreadable as error:
        return Outcome(UNREADABLE, 0, 0.0, error=str(error))
    return Outcome(
        status.get("state") or "preempted",
        status.get("step", 0),
        float(status.get("seconds", 0.0)),
        error=status.get("error"),
        cause=status.get("cause"),
    )


def finished(directory: Path) -> Outcome | None:
    """The outcome of a run that has nothing left to do, or None.

    Its records say so, not its status alone: they have a row of its last step.
    """
    last = last_status(directory)
    if last.state not in FINISHED:
        return None
    rows = read_rows(directory / paths.METRICS)
    if not any(row["step"] == last.step for row in reversed(rows)):
        return None
    return Outcome(last.state, last.step, last.seconds, _last_top1(rows), cause=last.cause)


def last_top1(directory: Path) -> float | None:
    """:func:`final_accuracy` of a run; None where its records have none."""
    return _last_top1(read_rows(directory / paths.METRICS))


def _last_top1(rows: Iterable[Row]) -> float | None:
    top1 = final_accuracy(monitored_curve(rows))
    return top1 if math.isfinite(top1) else None
