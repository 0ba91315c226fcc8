"""Run directories as tidy frames. Null becomes NaN.

What cannot be read is a line in ``warnings``, and the rest still loads.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bn_repro.analysis.tables import (
    BIN_COLUMNS,
    CORRECT_COLUMNS,
    CURVE_COLUMNS,
    HISTOGRAM_COLUMNS,
    KEY,
    PROBE_COLUMNS,
    RUN_COLUMNS,
    TRACE_COLUMNS,
    Member,
    Runs,
)
from bn_repro.config.identity import settings_of
from bn_repro.records import histograms as records
from bn_repro.records import paths, reader, search
from bn_repro.records.accuracy import best_accuracy, final_accuracy, monitored_curve
from bn_repro.records.errors import Unreadable
from bn_repro.records.json_files import Row, number, read_object, read_rows

COMMIT_LENGTH = DATA_LENGTH = 12

Block = tuple[Member, list[Row]]
"""A run and the rows of one of its files."""


def discover(runs: str | Path, warnings: list[str]) -> list[Member]:
    """Every run under a runs directory; ``varied`` holds the keys whose values differ among them.

    ``warnings`` gets a line for each unreadable configuration, whose ``varied`` is unknown, and for
    each copy of a run, which is left out. Raises ``ValueError`` where there is no run.
    """
    found: list[search.FoundRun] = []
    configs: list[Row] = []
    originals: dict[tuple[Any, ...], Path] = {}
    for run in search.find_runs(runs, warnings):
        try:
            config = settings_of(reader.read_config(run.directory))
        except Unreadable as error:
            config = {}
            warnings.append(f"{error}; what this run varies is unknown")
        begun = _begun(run.directory)
        if config and begun:
            original = originals.setdefault((repr(config), run.seed, begun), run.directory)
            if original != run.directory:
                warnings.append(f"{run.directory}: a copy of {original}; it is left out")
                continue
        found.append(run)
        configs.append(config)
    known = [config for config in configs if config]
    keys = dict.fromkeys(key for config in known for key in config)
    differ = [k for k in keys if len({repr(config.get(k)) for config in known}) > 1]
    return [
        Member(r.experiment, r.id, r.seed, {k: config.get(k) for k in differ}, r.directory)
        for r, config in zip(found, configs, strict=True)
    ]


def _begun(directory: Path) -> str | None:
    """When a run was begun, and the command; two runs do not share both."""
    try:
        manifest = reader.read_manifest(directory)
    except Unreadable:
        return None
    started, command = manifest.get("started"), manifest.get("command")
    return f"{started} {command}" if started and command else None


def load(
    members: Sequence[Member],
    *,
    name: str = "",
    traces: bool = True,
    histograms: Container[int] = (),
) -> Runs:
    """The records of the members that have a directory, in the members' order.

    ``traces=False`` leaves traces and probes out, which are most of what there is to read.
    Histograms, a number for each bin, are those of the seeds ``histograms``.
    """
    warnings: list[str] = []
    runs: list[Row] = []
    metric_rows: list[Block] = []
    trace_rows: list[Block] = []
    probe_rows: list[Block] = []
    counted: list[Block] = []
    correct_rows: list[Row] = []
    for member in members:
        if member.directory is None or not member.directory.is_dir():
            continue
        try:
            read = _read(member.directory, traces, member.seed in histograms, warnings)
        except Unreadable as error:
            warnings.append(f"{error}; this run is left out")
            continue
        manifest = _manifest(member.directory, warnings)
        _warn_of_bare_rows(member.directory / paths.METRICS, read.metrics, warnings)
        runs.append(_run(member, read.status, manifest, read.metrics))
        metric_rows.append((member, read.metrics))
        trace_rows.append((member, read.traces))
        probe_rows.append((member, read.probes))
        counted.append((member, read.histograms))
        correct_rows += _correct(member, warnings)
    varied = list(dict.fromkeys(key for member in members for key in member.varied))
    frame = pd.DataFrame(runs, columns=[*RUN_COLUMNS, *(k for k in varied if k not in RUN_COLUMNS)])
    curves = _curves(metric_rows, warnings)
    trace = _sites(trace_rows, paths.TRACES, TRACE_COLUMNS, warnings)
    probes = _sites(probe_rows, paths.PROBES, PROBE_COLUMNS, warnings)
    correct = pd.DataFrame(correct_rows, columns=CORRECT_COLUMNS)
    rest = {"correct": correct, "probes": probes, "histograms": _histograms(counted)}
    return Runs(name, list(members), frame, curves, trace, warnings, **rest)


class _Read(NamedTuple):
    """What the files of a run hold."""

    status: Row
    metrics: list[Row]
    traces: list[Row]
    probes: list[Row]
    histograms: list[Row]


def _read(directory: Path, traces: bool, histograms: bool, warnings: list[str]) -> _Read:
    """What is asked for of a run; Unreadable where it is not all there."""
    wanted = [paths.STATUS, paths.METRICS, *([paths.TRACES] if traces else [])]
    for path in (directory / name for name in wanted):
        if not path.exists():
            raise Unreadable(f"{path}: missing")
    copy = reader.copy_warning(directory)
    if copy:
        raise Unreadable(copy)
    found = _Read(
        reader.read_status(directory),
        read_rows(directory / paths.METRICS, warnings),
        read_rows(directory / paths.TRACES, warnings) if traces else [],
        read_rows(directory / paths.PROBES, warnings) if traces else [],
        records.read_histograms(directory, warnings) if histograms else [],
    )
    _require_last_step(directory / paths.METRICS, found.status, found.metrics)
    return found


def _warn_of_bare_rows(path: Path, metrics: list[Row], warnings: list[str]) -> None:
    bare = sum("split" not in row or "statistics" not in row for row in metrics)
    if bare:
        warnings.append(
            f"{path}: {bare} of {len(metrics)} rows lack split or statistics, as of another "
            "version; they count for no accuracy"
        )


def _require_last_step(path: Path, status: Row, metrics: list[Row]) -> None:
    """Unreadable where a run completed, and its file has lost the rows of its last step."""
    last, step = max((row["step"] for row in metrics), default=0), status.get("step") or 0
    if status.get("state") == "completed" and last < step:
        raise Unreadable(f"{path}: ends at step {last}, but the run completed at step {step}")


def _run(member: Member, status: Row, manifest: Row, metrics: list[Row]) -> Row:
    curve = monitored_curve(metrics)
    best_step, best = best_accuracy(curve)
    commit = str(manifest.get("commit") or "")[:COMMIT_LENGTH]
    parts = (manifest.get("device"), manifest.get("hardware"))
    return {
        "experiment": member.experiment,
        "id": member.id,
        "seed": member.seed,
        "state": str(status.get("state") or ""),
        "step": status.get("step") or 0,
        "final_top1": final_accuracy(curve),
        "best_top1": best,
        "best_step": best_step,
        "seconds": number(status.get("seconds")),
        "commit": commit + ("-dirty" if commit and manifest.get("dirty") else ""),
        "device": ", ".join(str(part) for part in parts if part),
        "engine": str(manifest.get("engine") or ""),
        "data": str(manifest.get("data") or "")[:DATA_LENGTH],
        "classes": number(manifest.get("classes")),
        "blocks": member.blocks,
        **member.varied,
    }


def _manifest(directory: Path, warnings: list[str]) -> Row:
    path = directory / paths.MANIFEST
    try:
        manifest = read_object(path)
        reason = f"{path}: missing"
    except Unreadable as error:
        manifest, reason = None, str(error)
    if manifest is None:
        warnings.append(f"{reason}; this run's commit and device are unknown")
    return manifest or {}


def _keys(blocks: Sequence[Block]) -> dict[str, np.ndarray]:
    counts = [len(rows) for _, rows in blocks]
    return {
        "experiment": np.repeat(np.array([m.experiment for m, _ in blocks], dtype=object), counts),
        "id": np.repeat(np.array([m.id for m, _ in blocks], dtype=object), counts),
        "seed": np.repeat(np.array([m.seed for m, _ in blocks], dtype=np.int64), counts),
    }


def _numbers(name: str, blocks: Sequence[Block], file: str, warnings: list[str]) -> np.ndarray:
    """A key of all rows as floats, NaN where a row has none or null. What is no number (another
    version's records may hold words) becomes NaN too, with one warning for each file."""
    values = [row.get(name) for _, rows in blocks for row in rows]
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        for member, rows in blocks:
            wrong = next((r for r in rows if not isinstance(r.get(name), int | float | None)), None)
            if wrong is not None and member.directory is not None:
                where = f"{member.directory / file}: {name} at step {wrong['step']}"
                warnings.append(f"{where} is no number, and left empty")
        return np.array([number(value) for value in values])


def _curves(blocks: Sequence[Block], warnings: list[str]) -> pd.DataFrame:
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
        part["value"] = _numbers(name, blocks, paths.METRICS, warnings)[has]
        parts.append(pd.DataFrame(part))
        order.append(np.flatnonzero(has) * len(metrics) + position)
    if not parts:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    joined = pd.concat(parts, ignore_index=True)
    return joined.take(np.argsort(np.concatenate(order))).reset_index(drop=True)


def _sites(
    blocks: Sequence[Block], file: str, columns: Sequence[str], warnings: list[str]
) -> pd.DataFrame:
    """The rows of traces or of probes: a step, a few words, and numbers."""
    rows = [row for _, block in blocks for row in block]
    if not rows:
        return pd.DataFrame(columns=list(columns))
    frame: dict[str, np.ndarray] = _keys(blocks)
    frame["step"] = np.array([row["step"] for row in rows], dtype=np.int64)
    for name in dict.fromkeys([*columns, *(name for row in rows for name in row)]):
        if name in ("probe", "site", "statistics", "distribution"):
            frame[name] = np.array([row.get(name, "") for row in rows], object)
        elif name not in frame:
            frame[name] = _numbers(name, blocks, file, warnings)
    return pd.DataFrame(frame)


def _histograms(blocks: Sequence[Block]) -> pd.DataFrame:
    """The counts of histograms, a column a bin."""
    rows = [row for _, block in blocks for row in block]
    if not rows:
        return pd.DataFrame(columns=HISTOGRAM_COLUMNS)
    where = _keys(blocks) | {name: [row[name] for row in rows] for name in ("step", "site")}
    counts = np.array([row["counts"] for row in rows], dtype=np.int32)
    return pd.concat([pd.DataFrame(where), pd.DataFrame(counts, columns=BIN_COLUMNS)], axis=1)


def _correct(member: Member, warnings: list[str]) -> list[Row]:
    """The row of ``correct.npz``; none where a run, as of an earlier version, has none."""
    assert member.directory is not None
    try:
        found = reader.read_correct(member.directory)
    except Unreadable as error:
        warnings.append(f"{error}; which images are right is unknown")
        return []
    return [dict(zip(KEY, member.key, strict=True)) | found] if found else []
