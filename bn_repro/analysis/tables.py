"""Run directories, and a study's committed rows, as tidy frames.

``runs`` has a row per run, ``curves`` one per recorded number of ``metrics.jsonl``, ``traces`` one
per row of ``traces.jsonl``. Null becomes NaN. What cannot be read is a line in ``warnings``, and
the rest still loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bn_repro.config.identity import settings_of
from bn_repro.records import paths, reader, search
from bn_repro.records.paths import monitored_split
from bn_repro.records.reader import BadInput, Row, Unreadable

KEY = ["experiment", "id", "seed"]
RUN_COLUMNS = [
    *KEY,
    *("state", "step", "final_top1", "best_top1", "best_step"),
    *("seconds", "commit", "device", "engine", "data", "classes", "blocks"),
]
"""``data`` is the head of the data set's fingerprint, ``blocks`` the study's blocks that ask for
the run, with ``+`` between."""
CURVE_COLUMNS = [*KEY, "step", "split", "statistics", "metric", "value"]
TRACE_COLUMNS = [
    *KEY,
    *("step", "site", "unit", "p15", "p50", "p85", "mean", "std", "saturated", "grad_norm"),
]
COMMIT_LENGTH = DATA_LENGTH = 12


@dataclass(frozen=True)
class Member:
    """One run of a study: what it is, what was changed by name, and where its records lie."""

    experiment: str
    id: str
    seed: int
    varied: dict[str, Any] = field(default_factory=dict)
    directory: Path | None = None
    blocks: str = ""
    """The names of the study's blocks that ask for it, ``+`` between."""

    @property
    def key(self) -> tuple[str, str, int]:
        """(experiment, id, seed)."""
        return self.experiment, self.id, self.seed


@dataclass
class Runs:
    """Some runs as frames, with the columns named above; a study's, or those of a directory.

    ``members`` are the runs that were planned, of which ``runs`` has those that are there.
    """

    name: str
    members: list[Member]
    runs: pd.DataFrame
    curves: pd.DataFrame
    traces: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    extra: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=KEY))
    """The table that the study keeps besides (``Study.extra``)."""

    def __repr__(self) -> str:
        """What there is, in one line, and then the warnings."""
        kinds = self.runs.loc[:, ["experiment", "id"]].drop_duplicates()
        states = self.runs["state"].value_counts()
        counts = ", ".join(f"{count:,} {state or 'in no state'}" for state, count in states.items())
        lines = [
            f"{self.name or 'runs'}: {len(self.runs):,} runs of {len(kinds):,} configurations "
            f"({counts or 'none'}); {len(self.curves):,} rows of curves, {len(self.traces):,} of "
            "traces"
        ]
        return "\n".join([*lines, *(f"warning: {line}" for line in self.warnings)])

    @property
    def chance(self) -> float:
        """The accuracy of guessing: one over the number of classes, which the runs recorded.

        Raises ``BadInput`` where they are of data sets with different numbers of classes.
        """
        known = {int(n) for n in self.runs["classes"].dropna()}
        if len(known) > 1:
            raise BadInput(f"{self.name}: runs with {sorted(known)} classes differ in chance")
        return 1 / known.pop() if known else np.nan

    @property
    def last_step(self) -> float:
        """The length of the longest run; NaN without runs."""
        return float(max(self.runs["step"].tolist(), default=np.nan))

    def where(self, **values: Any) -> Runs:
        """The runs whose columns have these values, as :func:`where` reads them."""
        return subset(self, where(self.runs, **values))

    def planned(self, **values: Any) -> list[Member]:
        """The planned runs, there or not, whose keys have these values."""
        rows = pd.DataFrame([vars(m) | m.varied for m in self.members])
        return [self.members[i] for i in where(rows, **values).index] if len(rows) else []

    def complete(self, **values: Any) -> bool:
        """Whether there are planned runs with these values, and all of them are there."""
        there = {member.key for member in self.where(**values).members}
        planned = self.planned(**values)
        return bool(planned) and all(member.key in there for member in planned)

    def final(
        self,
        split: str | None = None,
        *,
        statistics: str = "moving",
        diverged: float = np.nan,
    ) -> Values:
        """Each run's last accuracy on ``split`` by ``statistics``; null: as ``runs.csv`` has it, on
        the monitored split by moving averages.

        ``diverged`` stands in for it where a run diverged.
        """
        if split is None:
            last = self.runs["final_top1"].to_numpy(float)
        else:
            rows = select(self.curves, split=split, statistics=statistics, metric="top1")
            ends = rows.sort_values("step", kind="stable").groupby(KEY)["value"].last()
            last = ends.reindex(pd.MultiIndex.from_frame(self.runs.loc[:, KEY])).to_numpy(float)
        lost = (self.runs["state"] == "diverged").to_numpy(bool)
        return Values(self.runs.assign(value=np.where(lost, diverged, last)))

    def best(self, *, missing: float = np.nan) -> Values:
        """Each run's highest accuracy; ``missing`` where it diverged before it was evaluated."""
        return Values(self.runs.assign(value=self.runs["best_top1"].astype(float).fillna(missing)))

    def curve(
        self,
        *,
        split: str | None = None,
        statistics: str = "moving",
        metric: str = "top1",
        diverged: float | None = None,
    ) -> pd.DataFrame:
        """A metric as a table, a row a seed and a column a step; ``split`` null: the monitored one.

        ``diverged`` stands in for what a diverged run did not record, at its own steps and at those
        that it did not reach. Runs that differ in more than the seed do not fit into one table: cut
        them down with ``where`` first, or it raises ``BadInput``.
        """
        split = monitored_split(set(self.curves["split"])) if split is None else split
        rows = select(self.curves, split=split, statistics=statistics, metric=metric)
        kinds = sorted(set(zip(rows["experiment"], rows["id"], strict=True)))
        if len(kinds) > 1:
            names = ", ".join(f"{experiment}-{id}" for experiment, id in kinds[:3])
            raise BadInput(
                f"curve: the runs have {len(kinds)} configurations ({names}"
                f"{', ...' if len(kinds) > 3 else ''}); keep one, for example with "
                f".where(experiment={kinds[0][0]!r}, id={kinds[0][1]!r})"
            )
        twice = rows.loc[rows.duplicated(["seed", "step"])]
        if len(twice):
            (experiment, id), seed, step = kinds[0], *twice[["seed", "step"]].iloc[0].tolist()
            raise BadInput(
                f"curve: {experiment}-{id} seed {seed} has step {step:,} twice ({split}, "
                f"{statistics}): its records mix two runs; train it again with force=true"
            )
        wide = rows.pivot(index="seed", columns="step", values="value").astype(float)
        if diverged is None or wide.empty:
            return wide
        lost = select(self.runs, state="diverged")["seed"].tolist()
        wide = wide.reindex(sorted(set(self.runs["seed"])))
        return wide.where(wide.notna() | ~wide.index.isin(lost).reshape(-1, 1), diverged)


@dataclass(frozen=True)
class Values:
    """A number a run: the rows of ``runs`` with a column ``value``."""

    rows: pd.DataFrame

    def where(self, **keys: Any) -> Values:
        """The numbers of the runs whose columns have these values, as :func:`where` reads them."""
        return Values(where(self.rows, **keys))

    @property
    def array(self) -> np.ndarray:
        """The numbers, in the order of the runs."""
        return self.rows["value"].to_numpy(float)

    def by_seed(self) -> pd.Series:
        """The numbers by seed, ascending; BadInput where a seed has two."""
        twice = self.rows.loc[self.rows.duplicated("seed")]
        if len(twice):
            names = ", ".join(f"{key} {twice[key].iloc[0]}" for key in KEY)
            raise BadInput(f"two runs with one seed ({names}); keep one configuration with .where")
        found = pd.Series(self.array, index=self.rows["seed"].to_numpy(), dtype=float)
        return found.dropna().sort_index()

    def levels(self, key: str) -> list[Any]:
        """The values that a varied key has here, ascending; a missing one is last."""
        column = column_of(self.rows, key)
        found = {plain(value) for value in self.rows[column]} if column else set()
        return sorted(found, key=lambda v: (v is None, v if v is not None else 0))


def plain(value: Any) -> Any:
    """None for NaN, which a file has where a value is missing."""
    return None if value is None or value != value else value


def column_of(frame: pd.DataFrame, key: str) -> str | None:
    """The column of a key, or the one column that ends in it (``depth``: ``model.depth``)."""
    if key in frame:
        return key
    found = [str(name) for name in frame if str(name).rpartition(".")[2] == key]
    return found[0] if len(found) == 1 else None


def where(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values.

    A key may be a column's last part (``depth``: ``model.depth``); ``block`` is any of a run's
    ``blocks``. None is a missing value, and so is a column that is not there; a list or a tuple is
    any of its values.
    """
    mask = np.ones(len(frame), dtype=bool)
    for key, wanted in values.items():
        any_of = wanted if isinstance(wanted, list | tuple) else (wanted,)
        if key == "block":
            blocks = [str(cell).split("+") for cell in frame["blocks"]]
            mask &= np.array([not set(any_of).isdisjoint(found) for found in blocks], bool)
            continue
        column = column_of(frame, key)
        cells = [None] * len(frame) if column is None else frame[column].tolist()
        mask &= np.array([plain(cell) in any_of for cell in cells], dtype=bool)
    return frame.take(np.flatnonzero(mask))


Table = TypeVar("Table", pd.Series, pd.DataFrame)


def shared(a: Table, b: Table) -> tuple[Table, Table]:
    """Both cut down to the seeds (rows) and the steps (columns) that both have."""
    seeds = a.index.intersection(b.index)
    if isinstance(a, pd.Series):
        return a.loc[seeds], b.loc[seeds]
    steps = a.columns.intersection(b.columns)  # pyright: ignore[reportAttributeAccessIssue]
    return a.loc[seeds, steps], b.loc[seeds, steps]


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


def load(members: Sequence[Member], *, name: str = "", traces: bool = True) -> Runs:
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
            _require_last_step(member.directory / paths.METRICS, status, metrics)
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
    return Runs(name, list(members), frame, curves, trace, warnings)


def _require_last_step(path: Path, status: Row, metrics: list[Row]) -> None:
    """Unreadable where a run completed, and its file has lost the rows of its last step."""
    last, step = max((row["step"] for row in metrics), default=0), status.get("step") or 0
    if status.get("state") == "completed" and last < step:
        raise Unreadable(f"{path}: ends at step {last}, but the run completed at step {step}")


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
        "engine": str(manifest.get("engine") or ""),
        "data": str(manifest.get("data") or "")[:DATA_LENGTH],
        "classes": reader.number(manifest.get("classes")),
        "blocks": member.blocks,
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


def finished(data: Runs) -> Runs:
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


def subset(data: Runs, runs: pd.DataFrame) -> Runs:
    """The study cut down to some rows of ``data.runs``."""
    keys = set(zip(*(runs[name].tolist() for name in KEY), strict=True))
    ids = list({run_id for _, run_id, _ in keys})

    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        near = np.flatnonzero(frame["id"].isin(ids))  # at once most rows less; studies ask often
        rows = zip(*(frame[name].take(near).tolist() for name in KEY), strict=True)
        return frame.take(near[np.array([row in keys for row in rows], dtype=bool)])

    members = [member for member in data.members if member.key in keys]
    curves, traces = cut(data.curves), cut(data.traces)
    return Runs(data.name, members, runs, curves, traces, data.warnings, data.extra)
