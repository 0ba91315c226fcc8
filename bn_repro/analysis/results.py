"""The committed rows of a study: ``results/<study>/`` read, merged with new runs, and written.

Numbers are written to a fixed count of digits, and only what has changed is written at all.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import correct as correct_bits
from bn_repro.analysis import frames, steps_to, tables
from bn_repro.analysis.tables import KEY, RUN_COLUMNS, Member, Runs
from bn_repro.records.errors import BadInput
from bn_repro.records.paths import monitored_split

RUNS, CURVES, TRACES = "runs.csv", "curves.csv.gz", "traces.csv.gz"
PROBES, HISTOGRAMS, CORRECT = "probes.csv.gz", "histograms.csv.gz", "correct.npz"
CLAIMS, README = "claims.json", "README.md"
DIGITS = {TRACES: 4, PROBES: 4}
"""Significant digits of the numbers in a file; 6 where it is not named."""
FIX_HINT = "restore it from git, or write it anew with bn-repro report"
_INTEGERS = {"seed", "step", "best_step", "unit", "classes", *tables.BIN_COLUMNS}
_WORDS = ("experiment", "id", "state", "commit", "device", "engine", "data", "blocks")
_WORDS += ("split", "statistics", "metric", "site", "probe", "distribution")
_WORDS += ("right_top1", "right_top5")


def read(folder: str | Path, name: str = "") -> Runs:
    """A study's committed rows; empty frames where there are none. Members come from the rows.

    A column that only this version writes is left empty, with a line in ``warnings``. Raises
    ``ValueError`` for a file that cannot be read.
    """
    path, warnings = Path(folder), list[str]()
    runs = _read(path / RUNS, RUN_COLUMNS, KEY, warnings)
    curves = _read(path / CURVES, tables.CURVE_COLUMNS, tables.CURVE_COLUMNS, warnings)
    traces = _read(path / TRACES, tables.TRACE_COLUMNS, tables.TRACE_COLUMNS[:6], warnings)
    probes = _read(path / PROBES, tables.PROBE_COLUMNS, tables.PROBE_COLUMNS[:7], warnings)
    columns = tables.HISTOGRAM_COLUMNS
    histograms = _read(path / HISTOGRAMS, columns, columns, warnings)
    members = [
        Member(*key, varied=varied, blocks=blocks)
        for key, varied, blocks in zip(
            _index(runs), _varied(path / RUNS, runs), runs["blocks"].tolist(), strict=True
        )
    ]
    correct = correct_bits.read(path / CORRECT)
    rest = {"correct": correct, "probes": probes, "histograms": histograms}
    return Runs(name, members, runs, curves, traces, warnings, **rest)


def _varied(path: Path, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """What each run varied, typed as before ``to_csv``: 1 is an int, empty cells are left out."""
    known = {*RUN_COLUMNS, *(column for column in runs if str(column).startswith("steps_to_"))}
    names = [str(column) for column in runs if column not in known]
    if not names:
        return [{} for _ in range(len(runs))]
    texts = pd.read_csv(path, usecols=names, dtype=str, keep_default_na=False)
    rows = [zip(names, cells, strict=True) for cells in texts[names].to_numpy().tolist()]
    return [{name: _value(cell) for name, cell in row if cell} for row in rows]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_extra(path: Path) -> pd.DataFrame:
    """What a study's module keeps besides, with at least the columns of KEY; maybe no rows."""
    if not path.exists():
        return pd.DataFrame(columns=KEY)
    return _table(path, KEY)


def _read(
    path: Path, columns: list[str], needed: Sequence[str], warnings: list[str]
) -> pd.DataFrame:
    """A table of runs; ``columns`` that are not needed may be missing."""
    if not path.exists():
        return pd.DataFrame(columns=columns)
    frame = _table(path, needed)
    for name in ("seed", "step"):
        _whole(path, frame, name)
    missing = [name for name in columns if name not in frame]
    if missing:
        names = ", ".join(missing)
        warnings.append(f"{path}: no column {names}, as of another version; left empty")
        others = [name for name in frame if name not in columns]
        frame = frame.reindex(columns=[*columns, *others])
    return _without_missing_words(frame)


def _whole(path: Path, frame: pd.DataFrame, name: str) -> None:
    """Require whole numbers in column ``name``, if there; BadInput names the first bad line."""
    if name not in frame:
        return
    numbers = frame.loc[:, [name]].apply(pd.to_numeric, errors="coerce").to_numpy(float)[:, 0]
    off = np.flatnonzero(~np.isfinite(numbers) | (np.floor(numbers) != numbers))
    if len(off):
        cell = frame[name].tolist()[off[0]]
        found = f"no {name}" if cell != cell else f"{cell} for a {name}"
        raise BadInput(f"{path}: line {off[0] + 2} has {found}; {FIX_HINT}")


def _table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        if path.suffix == ".csv" and not path.read_bytes().endswith(b"\n"):
            raise ValueError("it ends within a line")
        frame = pd.read_csv(path, dtype={name: str for name in _WORDS})  # an id may be all digits
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: not readable ({str(error).strip()}); {FIX_HINT}") from None
    missing = [name for name in needed if name not in frame]
    if missing:
        raise BadInput(f"{path}: no column {', '.join(missing)}; {FIX_HINT}")
    return _without_missing_words(frame)


def _without_missing_words(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.fillna({name: "" for name in _WORDS if name in frame})


def merge(old: Runs, new: Runs, members: Sequence[Member]) -> Runs:
    """The members' rows of both, in the members' order; ``new`` replaces ``old``, run by run.

    Histograms stay where the same run is found without any, as of an older version.
    """
    order = {member.key: position for position, member in enumerate(members)}
    new, warnings = _same_data(old, new)
    replaced = set(_index(new.runs))

    def join(
        before: pd.DataFrame, after: pd.DataFrame, gone: Container[Any] = replaced
    ) -> pd.DataFrame:
        kept = [k in order and k not in gone for k in _index(before)]
        parts = [part for part in (before.take(np.flatnonzero(kept)), after) if not part.empty]
        joined = pd.concat(parts, ignore_index=True) if parts else after
        positions = np.array([order[k] for k in _index(joined)], dtype=int)
        return joined.take(np.argsort(positions, kind="stable")).reset_index(drop=True)

    return of_members(
        Runs(
            new.name,
            list(members),
            join(old.runs, new.runs),
            join(old.curves, new.curves),
            join(old.traces, new.traces),
            [*old.warnings, *new.warnings, *warnings],
            correct=join(old.correct, new.correct),
            probes=join(old.probes, new.probes),
            histograms=join(old.histograms, new.histograms, set(_index(new.histograms))),
        ),
        members,
    )


def _same_data(old: Runs, new: Runs) -> tuple[Runs, list[str]]:
    """``new`` without the runs whose rows in ``old`` are of other data, and a line for each."""
    before = dict(zip(_index(old.runs), old.runs["data"].tolist(), strict=True))
    kept, warnings = [], []
    for key, data in zip(_index(new.runs), new.runs["data"].tolist(), strict=True):
        other = before.get(key) or data
        kept.append(not data or other == data)
        if not kept[-1]:
            warnings.append(
                f"{key[0]}-{key[1]} seed {key[2]}: trained on data {data}, but its row here on "
                f"{other}; the row stays (give out=... to report these runs elsewhere)"
            )
    return tables.subset(new, new.runs.loc[kept]) if warnings else new, warnings


def _index(frame: pd.DataFrame) -> list[tuple[str, str, int]]:
    keys = (frame[name].tolist() for name in KEY)
    return [(experiment, id, int(seed)) for experiment, id, seed in zip(*keys, strict=True)]


def of_members(data: Runs, members: Sequence[Member]) -> Runs:
    """``data`` with the varied keys and blocks of ``members``, not of the file.

    Raises ``BadInput`` for rows of runs that the study does not ask for.
    """
    varied = {member.key: member.varied for member in members}
    blocks = {member.key: member.blocks for member in members}
    strange = [key for key in _index(data.runs) if key not in blocks]
    if strange:
        experiment, id, seed = strange[0]
        raise BadInput(
            f"{data.name}: {RUNS} has {len(strange)} of {len(data.runs)} rows that the study does "
            f"not ask for, as {experiment}-{id} seed {seed}; bn-repro report study={data.name} "
            "writes it anew from runs"
        )
    known = [c for c in data.runs if c in RUN_COLUMNS or str(c).startswith("steps_to_")]
    names = [k for k in dict.fromkeys(k for v in varied.values() for k in v) if k not in known]
    runs = data.runs.loc[:, known].copy()
    runs["blocks"] = [blocks[key] for key in _index(runs)]
    for name in names:
        # object: an integer beside a missing value stays one
        runs[name] = pd.Series([varied[k].get(name) for k in _index(runs)], runs.index, object)
    return replace(data, members=list(members), runs=runs)


def with_steps_to(data: Runs, targets: Sequence[float]) -> pd.DataFrame:
    """``data.runs`` with the first step at each target on the monitored split."""
    rows = frames.select(data.curves, metric="top1", statistics="moving")
    split = rows.groupby(KEY)["split"].transform(lambda splits: monitored_split(set(splits)))
    rows = rows.loc[rows["split"] == split]
    runs = data.runs.drop(columns=[c for c in data.runs if str(c).startswith("steps_to_")])
    position = list(runs.columns).index("best_step") + 1
    for offset, target in enumerate(targets):
        first = rows.loc[rows["value"] >= target].groupby(KEY)["step"].min().to_dict()
        steps = [first.get(key, np.nan) for key in _index(runs)]
        runs.insert(position + offset, steps_to.column(target), steps)
    return runs


def to_csv(frame: pd.DataFrame, name: str) -> str:
    """The frame as text: whole numbers without a point, floats to the file's digits."""
    out = frame.copy()
    for column in map(str, frame.columns):
        whole = column in _INTEGERS or column.startswith("steps_to_")
        if frame[column].dtype.kind in "iuf":  # numbers; without a look at each
            out[column] = frame[column].astype("Int64") if whole else frame[column]
            continue
        values = frame[column].tolist()
        if whole:
            out[column] = pd.array([None if pd.isna(v) else int(v) for v in values], "Int64")
        elif any(isinstance(value, list | dict | bool) for value in values):
            out[column] = [None if value is None else json.dumps(value) for value in values]
    return out.to_csv(index=False, float_format=f"%.{DIGITS.get(name, 6)}g", lineterminator="\n")


def write(path: Path, text: str) -> Path:
    """Writes what has changed; a ``.gz`` is compared unpacked, since compressors differ."""
    content = text.encode()
    zipped = path.suffix == ".gz"
    if path.exists():
        old = path.read_bytes()
        if content == (gzip.decompress(old) if zipped else old):
            return path
    if zipped:
        buffer = io.BytesIO()
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:
            packed.write(content)
        content = buffer.getvalue()
    path.write_bytes(content)
    return path
