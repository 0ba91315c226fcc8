"""A study's runs as tidy frames, and how to ask them for arms and numbers.

``runs`` has a row per run, ``curves`` one per recorded number of ``metrics.jsonl``, ``traces`` one
per row of ``traces.jsonl``, ``probes`` of ``probes.jsonl``, ``histograms`` of ``histograms.jsonl``
(a column a bin), ``correct`` the bits of a run's ``correct.npz``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis.frames import column_of, plain, select, where
from bn_repro.records import histograms, reader
from bn_repro.records.errors import BadInput
from bn_repro.records.paths import monitored_split

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
PROBE_COLUMNS = [*KEY, *("step", "probe", "site", "unit", "p15", "p50", "p85")]
BIN_COLUMNS = ["below", *(f"{left:g}" for left in histograms.edges()[1:-2]), "above"]
"""The bins by their left ends: ``below``, ``-8``, ``-7.75``, ..., ``7.75``, ``above``."""
HISTOGRAM_COLUMNS = [*KEY, "step", "site", *BIN_COLUMNS]
CORRECT_COLUMNS = [*KEY, *reader.CORRECT]
"""The last four are bits, one an image, as ``np.packbits`` packs them: uint8 arrays."""


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
    correct: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CORRECT_COLUMNS))
    probes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PROBE_COLUMNS))
    histograms: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=HISTOGRAM_COLUMNS)
    )

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

    def final_or_chance(self) -> Values:
        """:meth:`final` as ``runs.csv`` has it; where a run diverged, chance on its data."""
        lost, chance = self.runs["state"] == "diverged", 1 / self.runs["classes"].astype(float)
        return Values(self.runs.assign(value=self.runs["final_top1"].where(~lost, chance)))

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

    def right(self, which: str = "last") -> pd.DataFrame:
        """Right (1) or wrong (0) on the monitored split: a row a seed, a column an image, NaN where
        a run has not seen it; at the ``last`` evaluation or at the ``best``.

        Only of the runs whose bits are known, and, at the last evaluation, that did not diverge:
        chance stands for a diverged run's accuracy. Raises ``BadInput`` for two runs with one seed.
        """
        rows: dict[int, np.ndarray] = {}
        lost = set(select(self.runs, state="diverged")["seed"]) if which == "last" else set()
        for row in self.correct.to_dict("records"):
            if row["seed"] in lost:
                continue
            if row["seed"] in rows:
                raise BadInput(f"right: two runs with seed {row['seed']}; keep one with .where")
            right, seen = (unpacked(row[k], row["images"]) for k in (which, f"{which}_seen"))
            rows[row["seed"]] = np.where(seen, right, np.nan)
        return pd.DataFrame.from_dict(rows, orient="index", dtype=float).sort_index()


def unpacked(bits: np.ndarray, images: int) -> np.ndarray:
    """Packed bits as a bool array (images,)."""
    return np.unpackbits(bits, count=int(images)).astype(bool)


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


def varied_keys(data: Runs) -> list[str]:
    """The keys in which settings differ; what differs among seeds of one id (what is recorded, say)
    is none."""
    settings = list(zip(data.runs["experiment"].tolist(), data.runs["id"].tolist(), strict=True))
    found = []
    for name in map(str, data.runs):
        if name in RUN_COLUMNS or name.startswith("steps_to_"):
            continue
        values = [str(value) for value in data.runs[name].tolist()]
        one_each = len({*zip(settings, values, strict=True)}) == len({*settings})
        found += [name] if one_each and len({*values}) > 1 else []
    return found


def finished(data: Runs) -> Runs:
    """The runs that came to an end of their own: completed or diverged."""
    ended = np.asarray(data.runs["state"].isin(reader.FINISHED), dtype=bool)
    return subset(data, data.runs.take(np.flatnonzero(ended)))


def subset(data: Runs, runs: pd.DataFrame) -> Runs:
    """The study cut down to some rows of ``data.runs``."""
    keys = set(zip(*(runs[name].tolist() for name in KEY), strict=True))
    ids = list({run_id for _, run_id, _ in keys})

    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        near = np.flatnonzero(frame["id"].isin(ids))  # drops most rows fast
        rows = zip(*(frame[name].take(near).tolist() for name in KEY), strict=True)
        return frame.take(near[np.array([row in keys for row in rows], dtype=bool)])

    members = [member for member in data.members if member.key in keys]
    frames = ("curves", "traces", "correct", "probes", "histograms")
    rows = {name: cut(getattr(data, name)) for name in frames}
    return replace(data, members=members, runs=runs, **rows)
