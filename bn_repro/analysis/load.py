"""Run directories, and a study's committed rows, as tidy frames.

``runs`` has a row per run, ``curves`` one per recorded number of ``metrics.jsonl``, ``traces`` one
per row of ``traces.jsonl``. Null becomes NaN. What cannot be read is said in ``warnings``, a line
each, and the rest still loads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bn_repro import rundir

KEY = ["experiment", "id", "seed"]
RUN_COLUMNS = [
    *KEY,
    *("state", "step", "final_top1", "best_top1", "best_step"),
    *("seconds", "commit", "device"),
]
CURVE_COLUMNS = [*KEY, "step", "split", "statistics", "metric", "value"]
TRACE_COLUMNS = [
    *KEY,
    *("step", "site", "unit", "p15", "p50", "p85", "mean", "std", "saturated", "grad_norm"),
]
FINISHED = ("completed", "diverged")
COMMIT_LENGTH = 12

# Keys of the configuration that do not change what is computed, and are no variation of a run.
_ASIDE = {
    *("data.root", "data.cache", "data.workers", "train.eval_batch_size", "train.log_every"),
    *("train.trace_every", "train.trace_dense", "train.checkpoint_every"),
}


@dataclass(frozen=True)
class Member:
    """One run of a study: what it is, what was changed by name, and where its records lie."""

    experiment: str
    id: str
    seed: int
    varied: dict[str, Any] = field(default_factory=dict)
    directory: Path | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """(experiment, id, seed)."""
        return self.experiment, self.id, self.seed


@dataclass
class StudyData:
    """A study's runs as frames, with the columns named above."""

    name: str
    members: list[Member]
    runs: pd.DataFrame
    curves: pd.DataFrame
    traces: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    extra: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=KEY))
    """What the study's module keeps besides (``report``)."""


class _Unreadable(Exception):
    """A run that cannot be read, with the line that says so."""


def discover(runs: str | Path) -> list[Member]:
    """Every run under a runs directory; ``varied`` holds the keys whose values differ among them.

    Raises ``ValueError`` where there is none.
    """
    members: list[Member] = []
    configs: list[dict[str, Any]] = []
    root = Path(runs)
    for directory in sorted(root.rglob("seed*")):
        seed = re.fullmatch(r"seed(\d+)", directory.name)
        parent = re.fullmatch(r"(.+)-([0-9a-z]+)", directory.parent.relative_to(root).as_posix())
        if seed and parent and directory.is_dir():
            members.append(Member(parent[1], parent[2], int(seed[1]), directory=directory))
            configs.append(_config(directory))
    if not members:
        raise ValueError(
            f"runs: no run directory under {root}; expected <experiment>-<id>/seed<k>/ "
            f"as scripts/train.py writes them"
        )
    keys = dict.fromkeys(key for config in configs for key in config)
    differ = [k for k in keys if len({json.dumps(config.get(k)) for config in configs}) > 1]
    return [
        Member(m.experiment, m.id, m.seed, {k: config.get(k) for k in differ}, m.directory)
        for m, config in zip(members, configs, strict=True)
    ]


def _config(directory: Path) -> dict[str, Any]:
    """The run's configuration by dotted key, without what changes no number."""
    path = directory / rundir.CONFIG
    if not path.exists():
        return {}
    # The C loader is ten times faster, and not built everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    config = yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}
    sections = ((name, config.get(name) or {}) for name in ("model", "data", "optimizer", "train"))
    flat = {f"{name}.{key}": value for name, section in sections for key, value in section.items()}
    return {key: value for key, value in flat.items() if key not in _ASIDE}


def load(members: Sequence[Member], *, name: str = "", traces: bool = True) -> StudyData:
    """The records of the members that have a directory, in the members' order.

    ``traces=False`` leaves the traces out, which are most of what there is to read.
    """
    warnings: list[str] = []
    runs: list[dict[str, Any]] = []
    metric_rows: list[tuple[Member, list[dict[str, Any]]]] = []
    trace_rows: list[tuple[Member, list[dict[str, Any]]]] = []
    for member in members:
        if member.directory is None or not member.directory.is_dir():
            continue
        try:
            status = _object(member.directory / rundir.STATUS)
            metrics = _rows(member.directory / rundir.METRICS, warnings)
            kept = _rows(member.directory / rundir.TRACES, warnings) if traces else []
        except _Unreadable as error:
            warnings.append(f"{error}; this run is left out")
            continue
        manifest: dict[str, Any] = {}
        try:
            manifest = _object(member.directory / rundir.MANIFEST)
        except _Unreadable as error:
            warnings.append(f"{error}; this run's commit and device are unknown")
        runs.append(_run(member, status, manifest, metrics))
        metric_rows.append((member, metrics))
        trace_rows.append((member, kept))
    varied = list(dict.fromkeys(key for member in members for key in member.varied))
    frame = pd.DataFrame(runs, columns=[*RUN_COLUMNS, *(k for k in varied if k not in RUN_COLUMNS)])
    return StudyData(
        name, list(members), frame, _curves(metric_rows), _traces(trace_rows), warnings
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _Unreadable(f"{path}: missing") from None
    except (OSError, ValueError) as error:
        raise _Unreadable(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise _Unreadable(f"{path}: expected a JSON object")
    return found


def _rows(path: Path, warnings: list[str]) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file. A torn last line (the run was killed while writing it) is
    dropped with a warning; a torn line elsewhere makes the file unreadable."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        raise _Unreadable(f"{path}: {reason}") from None
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
                    raise _Unreadable(f"{path}: line {number} is not JSON") from None
                warnings.append(f"{path}: the last line is torn, as by a kill; it is dropped")
    if not all(isinstance(row, dict) and "step" in row for row in rows):
        raise _Unreadable(f"{path}: expected an object with a step on each line")
    return rows


def _run(
    member: Member, status: dict[str, Any], manifest: dict[str, Any], metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    commit = str(manifest.get("commit") or "")[:COMMIT_LENGTH]
    parts = (manifest.get("device"), manifest.get("hardware"))
    return {
        "experiment": member.experiment,
        "id": member.id,
        "seed": member.seed,
        "state": status.get("state", ""),
        "step": status.get("step", 0),
        **_accuracy(metrics),
        "seconds": _float(status.get("seconds")),
        "commit": commit + ("-dirty" if commit and manifest.get("dirty") else ""),
        "device": ", ".join(str(part) for part in parts if part),
        **member.varied,
    }


def _float(value: Any) -> float:
    return np.nan if value is None else float(value)


def _accuracy(metrics: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Final and best top1, by moving averages, on the split followed: val, or else test."""
    evaluated = [row for row in metrics if row.get("statistics") == "moving" and "top1" in row]
    split = "val" if any(row.get("split") == "val" for row in evaluated) else "test"
    points = [(row["step"], _float(row["top1"])) for row in evaluated if row.get("split") == split]
    finite = [(step, top1) for step, top1 in points if np.isfinite(top1)]
    best_step, best = max(finite, key=lambda point: point[1], default=(np.nan, np.nan))
    return {
        "final_top1": points[-1][1] if points else np.nan,
        "best_top1": best,
        "best_step": best_step,
    }


def _keys(blocks: Sequence[tuple[Member, list[dict[str, Any]]]]) -> dict[str, np.ndarray]:
    counts = [len(rows) for _, rows in blocks]
    return {
        "experiment": np.repeat(np.array([m.experiment for m, _ in blocks], dtype=object), counts),
        "id": np.repeat(np.array([m.id for m, _ in blocks], dtype=object), counts),
        "seed": np.repeat(np.array([m.seed for m, _ in blocks], dtype=np.int64), counts),
    }


def _curves(blocks: Sequence[tuple[Member, list[dict[str, Any]]]]) -> pd.DataFrame:
    rows = [row for _, block in blocks for row in block]
    if not rows:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    base = _keys(blocks)
    base["step"] = np.array([row["step"] for row in rows], dtype=np.int64)
    for name in ("split", "statistics"):
        base[name] = np.array([row.get(name, "") for row in rows], dtype=object)
    metrics = dict.fromkeys(name for row in rows for name in row)
    parts, order = [], []
    for position, name in enumerate(m for m in metrics if m not in ("step", "split", "statistics")):
        has = np.array([name in row for row in rows])
        part = {key: column[has] for key, column in base.items()}
        part["metric"] = np.full(int(has.sum()), name, dtype=object)
        part["value"] = np.array([row[name] for row in rows if name in row], dtype=float)
        parts.append(pd.DataFrame(part))
        order.append(np.flatnonzero(has) * len(metrics) + position)
    joined = pd.concat(parts, ignore_index=True)
    return joined.take(np.argsort(np.concatenate(order))).reset_index(drop=True)


def _traces(blocks: Sequence[tuple[Member, list[dict[str, Any]]]]) -> pd.DataFrame:
    rows = [row for _, block in blocks for row in block]
    if not rows:
        return pd.DataFrame(columns=TRACE_COLUMNS)
    frame: dict[str, np.ndarray] = _keys(blocks)
    frame["step"] = np.array([row["step"] for row in rows], dtype=np.int64)
    frame["site"] = np.array([row.get("site", "") for row in rows], dtype=object)
    names = dict.fromkeys([*TRACE_COLUMNS[5:], *(name for row in rows for name in row)])
    for name in names:
        if name not in frame:
            frame[name] = np.array([row.get(name) for row in rows], dtype=float)
    return pd.DataFrame(frame)


def finished(data: StudyData) -> StudyData:
    """The runs that came to an end of their own: completed or diverged."""
    ended = np.asarray(data.runs["state"].isin(FINISHED), dtype=bool)
    return subset(data, data.runs.take(np.flatnonzero(ended)))


def select(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None selects the missing."""
    mask = np.ones(len(frame), dtype=bool)
    for column, value in values.items():
        cells = frame[column]
        mask &= np.asarray(cells.isna() if value is None else cells == value, dtype=bool)
    return frame.take(np.flatnonzero(mask))


def subset(data: StudyData, runs: pd.DataFrame) -> StudyData:
    """The study cut down to some rows of ``data.runs``."""
    keys = pd.MultiIndex.from_frame(runs.loc[:, KEY])

    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        kept = pd.MultiIndex.from_frame(frame.loc[:, KEY]).isin(keys)
        return frame.take(np.flatnonzero(kept))

    members = [member for member in data.members if member.key in keys]
    return StudyData(data.name, members, runs, cut(data.curves), cut(data.traces), data.warnings)


def curve(
    data: StudyData,
    experiment: str,
    *,
    split: str = "test",
    statistics: str = "moving",
    metric: str = "top1",
    diverged: float | None = None,
) -> pd.DataFrame:
    """One experiment's curves as a table, a row per seed and a column per step.

    ``diverged`` stands in for what a run that left the real numbers did not record, at its own
    steps and at those that it did not live to see. Runs that differ in more than the seed do not
    fit into one table: cut the study down with ``subset`` first.
    """
    rows = select(
        data.curves, experiment=experiment, split=split, statistics=statistics, metric=metric
    )
    wide = rows.pivot(index="seed", columns="step", values="value").astype(float)
    if diverged is None or wide.empty:
        return wide
    seeds = select(data.runs, experiment=experiment)["seed"]
    return wide.reindex(sorted(set(seeds))).fillna(diverged)
