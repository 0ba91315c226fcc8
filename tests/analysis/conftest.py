"""Run directories with made-up numbers: what training would write, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support import as_lines

from bn_repro.analysis import style
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.tables import Member, Runs
from bn_repro.records import paths

MakeRun = Callable[..., Member]
UNITS = 4
"""Of the last site, where all have rows."""
PROBE = {"probe": "activations"}
PROBED = ("step", "site", "unit", "p15", "p50", "p85")


def trace_steps(steps: int) -> list[int]:
    """Geometric to 1,000, then every 250, as training records them."""
    early = np.unique(np.geomspace(1, min(steps, 1_000), 40).astype(int)).tolist()
    return [*early, *range(1_250, steps + 1, 250)]


def write_run(
    runs: Path,
    experiment: str,
    seed: int,
    *,
    steps: int = 50_000,
    eval_every: int = 1_000,
    split: str = "test",
    state: str = "completed",
    id: str | None = None,
    varied: dict[str, Any] | None = None,
    blocks: str = "",
    top: float | None = None,
    pace: float | None = None,
    traces: bool = True,
    chance: float = 0.1,
    sites: Sequence[str] = ("hidden1", "hidden2", "hidden3"),
    dies_at: int | None = None,
    engine: str = "eager",
    data: str = "0123456789abcdef",
    probes: bool = False,
    histograms: bool = False,
) -> Member:
    """A run whose accuracy rises to ``top`` at a ``pace``, and whose distributions drift.

    ``dies_at``: the step whose loss is not finite, where training stops. ``probes``: with the rows
    of inference mode, and every unit of the last site where a step is evaluated.
    ``histograms``: with 1,000 counts a row, about 0, wider at each step.
    """
    bn = "bn" in experiment
    noise = np.random.default_rng([seed, bn, int(1e6 * (top or 0))])
    id = id or ("1e234567" if bn else "00012345")  # ids that look like numbers
    directory = paths.run_directory(runs, experiment, id, seed)
    directory.mkdir(parents=True)
    top = (0.978 if bn else 0.965) if top is None else top
    pace = (700 if bn else 3_500) if pace is None else pace
    rows = []
    if dies_at is not None:
        state, steps = "diverged", dies_at
        rows.append({"step": steps, "loss": None, "top1": chance, "split": "train"})
        rows[0]["statistics"] = "batch"
    for step in sorted({*range(eval_every, steps + 1, eval_every), steps} - {dies_at}):
        reached = chance + (top - chance) * (1 - np.exp(-((step / pace) ** 0.55)))
        top1: float | None = round(float(reached + 0.0012 * noise.standard_normal()), 4)
        if state == "diverged" and dies_at is None and step > steps / 2:
            top1 = None
        loss = None if top1 is None else float(-np.log(top1))
        common = {"step": step, "loss": loss, "top1": top1}
        rows.append({**common, "split": "train", "statistics": "batch"})
        rows.append({**common, "split": split, "statistics": "moving"})
        if bn and step == steps and top1 is not None:
            better = {"step": step, "loss": loss, "top1": round(top1 + 0.0003, 4)}
            rows.append({**better, "split": split, "statistics": "population"})
    files = {
        paths.CONFIG: f"experiment: {experiment}\nseed: {seed}\nmodel:\n  norm: {bn}\n",
        paths.MANIFEST: json.dumps(
            {
                "commit": "0123456789abcdef0123456789abcdef01234567",
                "dirty": False,
                "device": "cpu",
                "hardware": "Made-up CPU, 1 thread",
                "engine": engine,
                "data": data,
                "classes": round(1 / chance),
                "versions": {"torch": "2.10"},
            }
        ),
        paths.STATUS: json.dumps(
            {"state": state, "step": steps, "seconds": 25.125 + seed, "error": None}
        ),
        paths.METRICS: as_lines(rows),
        paths.TRACES: as_lines(_traces(steps, bn, noise, sites) if traces else ()),
    }
    if probes:
        rows = [json.loads(line) for line in files[paths.TRACES].splitlines()]
        pooled = [row for row in rows if row["unit"] is None]
        units = [
            row | {"unit": u}
            for row in rows
            if row["site"] == sites[-1]
            for u in range(UNITS)
            if row["unit"] == 0
        ]
        evaluated = [row for row in units if row["unit"] and row["step"] % eval_every == 0]
        files[paths.TRACES] = as_lines(sorted([*rows, *evaluated], key=lambda row: row["step"]))
        probed = sorted([*pooled, *units], key=lambda row: row["step"])
        files[paths.PROBES] = as_lines([PROBE | {k: row[k] for k in PROBED} for row in probed])
    if histograms:
        files[paths.HISTOGRAMS] = as_lines(
            [
                {"step": step, "site": site, "counts": _counts(1 + 6 * step / steps)}
                for step in trace_steps(steps)
                for site in sites
            ]
        )
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return Member(experiment, id, seed, varied or {}, directory, blocks)


def _counts(half: float) -> list[int]:
    """1,000 values evenly from -half to half, in the bins of ``records.histograms``."""
    ends = [-np.inf, *np.linspace(-8, 8, 65), np.inf]
    return np.histogram(np.linspace(-half, half, 1_000), ends)[0].tolist()


def _traces(
    steps: int, bn: bool, noise: np.random.Generator, sites: Sequence[str]
) -> list[dict[str, Any]]:
    offsets = noise.normal(0, 0.5, size=len(sites))
    drift = noise.normal(0, 0.4 if bn else 1.2, size=len(sites))
    rows = []
    for step in trace_steps(steps):
        grown = np.log1p(step / 500) / np.log1p(100)
        for layer, site in enumerate(sites):
            width = (1 + 0.6 * grown) if bn else 0.03 + 1.4 * grown
            for unit in (0, None):
                jitter = noise.normal(0, 0.1 if unit == 0 else 0.02, size=3) * width
                centre = (0 if bn else offsets[layer]) + drift[layer] * grown if unit == 0 else 0.0
                low, middle, high = centre + width * np.array([-1.04, 0.0, 1.04]) + np.sort(jitter)
                rows.append(
                    {
                        "step": step,
                        "site": site,
                        "unit": unit,
                        "p15": low,
                        "p50": middle,
                        "p85": high,
                        "mean": middle,
                        "std": width,
                        "saturated": max(0.0, 0.02 * (grown if bn else 2 * grown)),
                        "grad_norm": float((0.01 if bn else 0.002) * (1 + grown)),
                    }
                )
    return rows


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """``make_run(experiment, seed, **how)`` writes a run under ``tmp_path/runs``."""

    def make(experiment: str, seed: int, **how: Any) -> Member:
        return write_run(tmp_path / "runs", experiment, seed, **how)

    return make


@pytest.fixture
def fig1_members(make_run: MakeRun) -> list[Member]:
    """Figure 1 with 5 seeds each, short of nothing but truth."""
    return [make_run(arm, seed) for arm in ("mnist/baseline", "mnist/bn") for seed in range(5)]


def _small(runs: Runs) -> dict[str, Figure]:
    return {"figure1": Figure(figsize=(2, 1))}


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure of ``fig1`` that takes no time, where rows are what is looked at."""
    monkeypatch.setattr(fig1, "STUDY", replace(fig1.STUDY, figures=_small))


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what looks at words and verdicts: the figures of a report are drawn, and fail where they
    would, but neither as SVG nor as PNG, which takes four times as long."""

    def files(figure: Figure, digest: str) -> dict[str, bytes]:
        figure.draw_without_rendering()
        return dict.fromkeys(("svg", "png"), digest.encode())

    monkeypatch.setattr(style, "files", files)
