"""The files of one run, as training wrote them. What cannot be read is said in one line.

Files may be older than this code and lack a key, newer and have more, torn, or another program's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bn_repro.records import paths
from bn_repro.records.files import read_json

Row = dict[str, Any]

# Keys of the configuration that do not change what is computed, and are no variation of a run.
_ASIDE = {
    *("data.root", "data.cache", "data.workers", "train.eval_batch_size", "train.log_every"),
    *("train.trace_every", "train.trace_dense", "train.checkpoint_every"),
}


class BadInput(ValueError):
    """Input that cannot be used, told in one line; a notebook shows that line and no traceback."""

    def _render_traceback_(self) -> list[str]:  # what IPython asks an exception for
        return [f"error: {self}"]


class Unreadable(Exception):
    """A file of a run that cannot be read, with the line that says so."""


def read_object(path: Path) -> Row:
    """A JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unreadable(f"{path}: missing") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise Unreadable(f"{path}: expected a JSON object")
    return found


def read_rows(path: Path, warnings: list[str]) -> list[Row]:
    """The rows of a JSON-lines file. A torn last line (the run was killed while writing it) is
    dropped with a warning; a torn line elsewhere makes the file unreadable."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        raise Unreadable(f"{path}: {reason}") from None
    lines = text.splitlines()
    try:
        rows = json.loads(f"[{','.join(lines)}]")  # one call for the file: several times faster
    except ValueError:
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                if number < len(lines):
                    raise Unreadable(f"{path}: line {number} is not JSON") from None
                warnings.append(f"{path}: the last line is torn, as by a kill; it is dropped")
    if not all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in rows):
        raise Unreadable(f"{path}: expected a JSON object with a whole step on each line")
    return rows


def read_config(path: Path) -> Row:
    """The run's configuration by dotted key, without what changes no number."""
    # The C loader is ten times faster, and not built everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except FileNotFoundError:
        raise Unreadable(f"{path}: missing") from None
    except (OSError, ValueError, yaml.YAMLError):
        raise Unreadable(f"{path}: not readable as YAML") from None
    flat: Row = {}
    for name in ("model", "data", "optimizer", "train"):
        section = (config.get(name) or {}) if isinstance(config, dict) else None
        if not isinstance(section, dict):
            raise Unreadable(f"{path}: expected a run's configuration, with sections of keys")
        flat |= {f"{name}.{key}": value for key, value in section.items()}
    return {key: value for key, value in flat.items() if key not in _ASIDE}


def number(value: Any) -> float:
    """NaN for null, and for what is no number."""
    return float(value) if isinstance(value, int | float) else np.nan


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, its last step, the seconds that it took in all."""

    state: str
    step: int
    seconds: float
    top1: float | None = None
    error: str | None = None


def finished(directory: Path) -> Outcome | None:
    """The outcome of a run that has nothing left to do, or None."""
    status = read_json(directory / paths.STATUS) or {}
    if status.get("state") not in ("completed", "diverged"):
        return None
    step, seconds = int(status.get("step", 0)), float(status.get("seconds", 0.0))
    return Outcome(status["state"], step, seconds, last_top1(directory))


def last_status(directory: Path) -> Outcome:
    """How far an unfinished run is, by its status."""
    status = read_json(directory / paths.STATUS) or {}
    return Outcome("preempted", status.get("step", 0), status.get("seconds", 0.0))


def quarantined(directory: Path) -> list[str]:
    """A line for each file that a run could not read, of all times that it was resumed."""
    facts = read_json(directory / paths.MANIFEST) or {}
    return facts.get("quarantined", {}).get("files", [])


def last_top1(directory: Path) -> float | None:
    """The last accuracy on the split that a run was followed on (val, or else test), with moving
    averages; None where no row tells it."""
    try:
        lines = (directory / paths.METRICS).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    last: dict[str, float | None] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["statistics"] == "moving":
            last[row["split"]] = row["top1"]
    return last.get(paths.monitored_split(last))
