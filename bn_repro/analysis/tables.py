"""Run directories, and a study's committed rows, as tidy frames.

``runs`` has a row per run, ``curves`` one per recorded number of ``metrics.jsonl``, ``traces`` one
per row of ``traces.jsonl``. Null becomes NaN. What cannot be read is a line in ``warnings``, and
the rest still loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.config.identity import settings_of
from bn_repro.records import paths, reader, search
from bn_repro.records.reader import BadInput, Row, Unreadable

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
COMMIT_LENGTH = 12


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

    def __repr__(self) -> str:
        """What there is, in one line, and then the warnings."""
        kinds = self.runs.loc[:, ["experiment", "id"]].drop_duplicates()
        states = self.runs["state"].value_counts()
        told = ", ".join(f"{count:,} {state or 'in no state'}" for state, count in states.items())
        lines = [
            f"{self.name or 'runs'}: {len(self.runs):,} runs of {len(kinds):,} configurations "
            f"({told or 'none'}); {len(self.curves):,} rows of curves, {len(self.traces):,} of "
            "traces"
        ]
        return "\n".join([*lines, *(f"warning: {line}" for line in self.warnings)])


Block = tuple[Member, list[Row]]
"""A run and the rows of one of its files."""


def discover(runs: str | Path, warnings: list[str] | None = None) -> list[Member]:
    """Every run under a runs directory; ``varied`` holds the keys whose values differ among them.

    A configuration that cannot be read is a line in ``warnings``, and its run's ``varied`` is
    unknown. Raises ``ValueError`` where there is no run.
    """
    found = search.find_runs(runs)
    configs: list[Row] = []
    for run in found:
        try:
            configs.append(settings_of(reader.read_config(run.directory)))
        except Unreadable as error:
            configs.append({})
            if warnings is not None:
                warnings.append(f"{error}; what this run varies is unknown")
    known = [config for config in configs if config]
    keys = dict.fromkeys(key for config in known for key in config)
    differ = [k for k in keys if len({repr(config.get(k)) for config in known}) > 1]
    return [
        Member(r.experiment, r.id, r.seed, {k: config.get(k) for k in differ}, r.directory)
        for r, config in zip(found, configs, strict=True)
    ]


def load(members: Sequence[Member], *, name: str = "", traces: bool = True) -> StudyData:
    """The records of the members that have a directory, in the members' order.

    ``traces=False`` leaves the traces out, which are most of what there is to read.
    """
    warnings: list[str] = []
    runs: list[Row] = []
    metric_rows: list[Block] = []
    trace_rows: list[Block] = []
    for member in members:
        if member.directory is None or not member.directory.is_dir():
            continue
        try:
            wanted = [paths.STATUS, paths.METRICS, *([paths.TRACES] if traces else [])]
            for path in (member.directory / name for name in wanted):
                if not path.exists():
                    raise Unreadable(f"{path}: missing")
            status = reader.read_status(member.directory)
            metrics = reader.read_rows(member.directory / paths.METRICS, warnings)
            kept = reader.read_rows(member.directory / paths.TRACES, warnings) if traces else []
        except Unreadable as error:
            warnings.append(f"{error}; this run is left out")
            continue
        manifest = _manifest(member.directory, warnings)
        bare = sum("split" not in row or "statistics" not in row for row in metrics)
        if bare:
            warnings.append(
                f"{member.directory / paths.METRICS}: {bare} of {len(metrics)} rows lack split or "
                "statistics, as of another version; they count for no accuracy"
            )
        runs.append(_run(member, status, manifest, metrics))
        metric_rows.append((member, metrics))
        trace_rows.append((member, kept))
    varied = list(dict.fromkeys(key for member in members for key in member.varied))
    frame = pd.DataFrame(runs, columns=[*RUN_COLUMNS, *(k for k in varied if k not in RUN_COLUMNS)])
    curves, trace = _curves(metric_rows, warnings), _traces(trace_rows, warnings)
    return StudyData(name, list(members), frame, curves, trace, warnings)


def _run(member: Member, status: Row, manifest: Row, metrics: list[Row]) -> Row:
    curve = reader.monitored_curve(metrics)
    best_step, best = reader.best_accuracy(curve)
    commit = str(manifest.get("commit") or "")[:COMMIT_LENGTH]
    parts = (manifest.get("device"), manifest.get("hardware"))
    return {
        "experiment": member.experiment,
        "id": member.id,
        "seed": member.seed,
        "state": str(status.get("state") or ""),
        "step": status.get("step") or 0,
        "final_top1": reader.final_accuracy(curve),
        "best_top1": best,
        "best_step": best_step,
        "seconds": reader.number(status.get("seconds")),
        "commit": commit + ("-dirty" if commit and manifest.get("dirty") else ""),
        "device": ", ".join(str(part) for part in parts if part),
        **member.varied,
    }


def _manifest(directory: Path, warnings: list[str]) -> Row:
    path = directory / paths.MANIFEST
    try:
        manifest = reader.read_object(path)
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
        return np.array([reader.number(value) for value in values])


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


def _traces(blocks: Sequence[Block], warnings: list[str]) -> pd.DataFrame:
    rows = [row for _, block in blocks for row in block]
    if not rows:
        return pd.DataFrame(columns=TRACE_COLUMNS)
    frame: dict[str, np.ndarray] = _keys(blocks)
    frame["step"] = np.array([row["step"] for row in rows], dtype=np.int64)
    frame["site"] = np.array([row.get("site", "") for row in rows], dtype=object)
    for name in dict.fromkeys([*TRACE_COLUMNS[5:], *(name for row in rows for name in row)]):
        if name not in frame:
            frame[name] = _numbers(name, blocks, paths.TRACES, warnings)
    return pd.DataFrame(frame)


def finished(data: StudyData) -> StudyData:
    """The runs that came to an end of their own: completed or diverged."""
    ended = np.asarray(data.runs["state"].isin(reader.FINISHED), dtype=bool)
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
    keys = set(zip(*(runs[name].tolist() for name in KEY), strict=True))
    ids = list({run_id for _, run_id, _ in keys})

    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        near = np.flatnonzero(frame["id"].isin(ids))  # at once most rows less; studies ask often
        rows = zip(*(frame[name].take(near).tolist() for name in KEY), strict=True)
        return frame.take(near[np.array([row in keys for row in rows], dtype=bool)])

    members = [member for member in data.members if member.key in keys]
    curves, traces = cut(data.curves), cut(data.traces)
    return StudyData(data.name, members, runs, curves, traces, data.warnings, data.extra)


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
    fit into one table: cut the study down with ``subset`` first, or it raises ``ValueError``.
    """
    rows = select(
        data.curves, experiment=experiment, split=split, statistics=statistics, metric=metric
    )
    ids = sorted(set(rows["id"]))
    if len(ids) > 1:
        raise BadInput(
            f"curve: {experiment} has runs of {len(ids)} configurations here (ids "
            f"{', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''}); keep one, for example with "
            f"subset(data, select(data.runs, id={ids[0]!r}))"
        )
    twice = rows.loc[rows.duplicated(["seed", "step"])]
    if len(twice):
        seed, step = (int(twice[name].iloc[0]) for name in ("seed", "step"))
        raise BadInput(
            f"curve: {experiment}-{ids[0]} seed {seed} has step {step:,} twice ({split}, "
            f"{statistics}): its records are of two runs; train it anew with force=true"
        )
    wide = rows.pivot(index="seed", columns="step", values="value").astype(float)
    if diverged is None or wide.empty:
        return wide
    seeds = select(data.runs, experiment=experiment)["seed"]
    return wide.reindex(sorted(set(seeds))).fillna(diverged)
