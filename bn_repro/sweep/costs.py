"""What a run takes, in seconds and in bytes, by those like it that have finished."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bn_repro.config.network import MLPConfig
from bn_repro.config.schema import Config
from bn_repro.records import paths, reader
from bn_repro.records.errors import Unreadable
from bn_repro.sweep.planned import PlannedRun

HERE = "runs finished here"
PIXELS, DIGITS = 784, 10
CLASSES = {"imagenet": 1000, "tiny_imagenet": 200}
BYTES_A_TRACE, DENSE_TRACES, OTHER_BYTES = 330, 30, 20_000
"""Bytes of one row of traces; about how many steps are traced up to a usual ``train.trace_dense``;
bytes of all other files."""


class Finished(NamedTuple):
    """A completed run: what it was, and what it took."""

    id: str
    scale: str | None
    steps: int
    seconds: float
    size: int | None
    source: str
    device: str


class CompletedRuns:
    """What completed runs took: those in the runs directory, and those in ``results/``."""

    def __init__(self, runs: str, results: Path | None = None) -> None:
        self.runs, self.results = Path(runs), results or paths.RESULTS
        self._here = cache(lambda experiment: list(_finished_under(self.runs, experiment)))
        self._committed = cache(lambda: list(_committed(self.results)))

    def like(self, run: PlannedRun) -> tuple[list[Finished], bool]:
        """The runs nearest to ``run``, and whether they are of the same configuration.

        They are other seeds, here or in ``results/``; else runs of its experiment at its scale
        here, or of its length in ``results/``.
        """
        experiment, identity, _ = run.key
        here = self._here(experiment)
        committed = [f for name, f in self._committed() if name == experiment]
        for found in (here, committed):
            if same := [f for f in found if f.id == identity]:
                return same, True
        scaled = [f for f in here if f.scale == run.config.scale]
        return scaled or [f for f in committed if f.steps == run.config.train.steps], False


def _finished_under(runs: Path, experiment: str) -> Iterator[Finished]:
    for directory in sorted(runs.glob(f"{experiment}-*/seed*")):
        last = reader.last_status(directory)
        identity = directory.parent.name.rpartition("-")[2]
        family = directory.parent.relative_to(runs).as_posix().rpartition("-")[0]
        named = re.fullmatch(r"seed\d+", directory.name) and family == experiment
        if not named or last.state != "completed" or not last.step:
            continue
        try:
            scale = reader.read_config(directory).get("scale")
        except Unreadable:
            scale = None
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
        yield Finished(identity, scale, last.step, last.seconds, size, HERE, "")


def _committed(results: Path) -> Iterator[tuple[str, Finished]]:
    """Each with its experiment; a row that lacks what is needed says nothing."""
    for table in sorted(results.glob("*/runs.csv")):
        place = f"results/{table.parent.name}"
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    steps, seconds = int(row["step"]), float(row["seconds"])
                    experiment, identity, device = row["experiment"], row["id"], row["device"]
                except (KeyError, TypeError, ValueError):
                    continue
                if row.get("state") == "completed" and steps:
                    found = Finished(identity, None, steps, seconds, None, place, device or "?")
                    yield experiment, found


def size_of(config: Config) -> float:
    """About how many bytes a finished run keeps: its last state and its traces are most of them."""
    parameters, sites = _network(config)
    o, t = config.optimizer, config.train
    copies = 1 + bool(o.momentum) + bool(t.polyak) + o.delay
    traces = min(DENSE_TRACES, t.trace_dense, t.steps)
    traces += t.steps / t.trace_every if t.trace_every else 0
    return 4 * parameters * copies + 2 * sites * traces * BYTES_A_TRACE + OTHER_BYTES


_NETWORKS: dict[str, tuple[int, int]] = {}


def _network(config: Config) -> tuple[int, int]:
    """The number of parameters, and of traced nonlinearities; each network is made once."""
    m, d, sites = config.model, config.data, config.train.trace_sites
    if isinstance(m, MLPConfig):
        widths = [PIXELS, *m.widths, DIGITS]
        parameters = sum((a + 1) * b for a, b in itertools.pairwise(widths))
        return parameters, len(m.widths if sites is None else sites)
    classes, side = getattr(d, "classes", None), getattr(d, "image_size", 32)
    number = len(classes) if isinstance(classes, list) else classes
    number = number or CLASSES.get(d.name, DIGITS)
    shape = (PIXELS,) if m.flat else (3, side, side)
    key = repr((m, shape, number, sites))
    if key not in _NETWORKS:
        from bn_repro.data.batches import Examples  # torch
        from bn_repro.training.activations import sites_of
        from bn_repro.training.build import network

        made = network(config, Examples(d.name, shape, number))
        parameters = sum(p.numel() for p in made.parameters())
        _NETWORKS[key] = parameters, len(sites_of(made, sites))
    return _NETWORKS[key]
