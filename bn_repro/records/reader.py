"""THE reader of a run directory: every other module reads a run's files through this one.

A file may be older than this code and lack a key, newer and have more, torn by a kill, or not a
run's at all. What cannot be read, or holds a value of the wrong kind, is an :class:`Unreadable`,
one line with the path and the fix; so whoever reads through here need not look again.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bn_repro.records import paths

Row = dict[str, Any]
Curve = list[tuple[int, float]]
"""(step, value) of each evaluation, in the order of the records; NaN where the record has null."""

FINISHED = ("completed", "diverged")
"""The states of a run that has nothing left to do."""
UNREADABLE = "unreadable"
"""The state of a run whose status cannot be read; it has not finished."""
TAIL_BYTES = 65_536
"""The end of a record that a status display reads: hundreds of rows."""
START_OVER = "start over with force=true"
DERIVED = "it is written anew when the run is trained again"
"""What to do about a damaged status or manifest: the checkpoint knows the rest."""
GARBLED = "\ufffd"
"""What stands for a byte that is no UTF-8; the records themselves are ASCII."""
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


class BadInput(ValueError):
    """Input that cannot be used, in one line; a notebook shows that line and no traceback."""

    def _render_traceback_(self) -> list[str]:  # what IPython asks an exception for
        return [f"error: {self}"]


class Unreadable(BadInput):
    """A file of a run that cannot be read: one line with its path and what to do."""


# --- files ----------------------------------------------------------------------------------------


def read_object(path: Path, fix: str = START_OVER) -> Row | None:
    """The JSON object in a file; None where there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not readable as JSON ({error}); {fix}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{path}: expected a JSON object; {fix}")
    return value


def _checked(
    path: Path, value: Row, kinds: Mapping[str, tuple[type, ...]], fix: str = "", what: str = ""
) -> Row:
    """``value``, if its keys have the types in ``kinds``, else Unreadable; a bool is no number."""
    for key, allowed in kinds.items():
        if key in value and type(value[key]) not in allowed:
            found = json.dumps(value[key], default=str)[:40]
            raise Unreadable(f"{path}: {what}{key} cannot be {found}{fix and f'; {fix}'}")
    return value


def read_rows(path: Path, warnings: list[str] | None = None, *, fix: str = START_OVER) -> list[Row]:
    """The rows of a JSON-lines file, each with its ``step``; none where there is no file.

    A torn last line, as a kill leaves it, is dropped, with a line in ``warnings``; a torn line
    elsewhere makes the file Unreadable.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Unreadable(f"{path}: not readable ({error.strerror}); {fix}") from None
    return _rows_of(path, text.splitlines(), warnings, fix)


def _rows_of(
    path: Path, lines: list[str], warnings: list[str] | None = None, fix: str = START_OVER
) -> list[Row]:
    try:
        if any(GARBLED in line for line in lines):
            raise ValueError("not UTF-8")
        rows = json.loads(f"[{','.join(lines)}]")  # one call for the file: several times faster
    except (ValueError, RecursionError):
        rows = _line_by_line(path, lines, warnings, fix)
    wrong = next((n for n, row in enumerate(rows, start=1) if not _is_row(row)), None)
    if wrong is not None:
        what = "expected a JSON object with a whole step on each line"
        raise Unreadable(f"{path}: {what}, which line {wrong} is not; {fix}")
    return rows


def _line_by_line(
    path: Path, lines: Sequence[str], warnings: list[str] | None, fix: str
) -> list[Row]:
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            if GARBLED in line:
                raise ValueError("not UTF-8")
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise Unreadable(f"{path}: line {number} is not JSON; {fix}") from None
            if warnings is not None:
                warnings.append(f"{path}: the last line is torn, as by a kill; it is dropped")
    return rows


class Tail:
    """The rows of a JSON-lines file that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def new_rows(self) -> list[Row]:
        """The rows whose lines have come to their end since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return _rows_of(self.path, whole.decode(errors="replace").splitlines())


def read_tail(path: Path, length: int = TAIL_BYTES) -> list[Row]:
    """The rows within the last ``length`` bytes of a JSON-lines file, cheaply, for a display.

    Lines that are cut, or still being written, are left out, and so is a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            lines = file.read().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        rows += [row] if _is_row(row) else []
    return rows


def _is_row(value: Any) -> bool:
    return (  # written out: there are hundreds of thousands of traces
        type(value) is dict
        and type(step := value.get("step")) is int
        and 0 <= step < 2**63
        and type(value.get("split", "")) is str
        and type(value.get("statistics", "")) is str
        and type(value.get("site", "")) is str
    )


def number(value: Any) -> float:
    """A recorded number; NaN for null, and for what is no number."""
    return float(value) if isinstance(value, int | float) else math.nan


# --- a run ----------------------------------------------------------------------------------------


def read_status(directory: Path) -> Row:
    """``status.json``; empty where there is none."""
    path = directory / paths.STATUS
    return _checked(path, read_object(path, DERIVED) or {}, STATUS_KINDS, DERIVED)


def read_manifest(directory: Path) -> Row:
    """``manifest.json``; empty where there is none."""
    path = directory / paths.MANIFEST
    facts = _checked(path, read_object(path, DERIVED) or {}, MANIFEST_KINDS, DERIVED)
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
    return _checked(path, config, CONFIG_KINDS, what="expected a run's configuration; ")


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
        _checked(path, {"crops": None, "statistics": None} | row, EVALUATION_KINDS, fix)
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


# --- accuracy -------------------------------------------------------------------------------------


def monitored_curve(rows: Iterable[Row]) -> Curve:
    """top1 by moving averages on the monitored split: val, or else test."""
    evaluated = [row for row in rows if row.get("statistics") == "moving" and "top1" in row]
    split = paths.monitored_split({row.get("split") for row in evaluated})
    return [(row["step"], number(row["top1"])) for row in evaluated if row.get("split") == split]


def final_accuracy(curve: Curve) -> float:
    """The last value of a curve; NaN where it is not finite, or there is none."""
    return curve[-1][1] if curve else math.nan


def best_accuracy(curve: Curve) -> tuple[float, float]:
    """The greatest value of a curve and its first step, as (step, value); NaN where there is none.

    A curve's best is biased upwards: it was chosen on the split on which it is measured.
    """
    finite = [point for point in curve if math.isfinite(point[1])]
    return max(finite, key=lambda point: point[1], default=(math.nan, math.nan))


def steps_to(curve: Iterable[tuple[float, float]], target: float) -> float:
    """The first step whose value is at least ``target``; NaN where none is."""
    return min((step for step, value in curve if value >= target), default=math.nan)


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
