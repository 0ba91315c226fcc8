"""Milliseconds a training step of the photographs' networks takes, whole runs timed, on a GPU.

    python scripts/benchmark_photographs.py [--jobs 8] [--steps 150]

First each network alone, step by step and as a graph; then several of the smallest at once on one
GPU, taking turns and by CUDA's multi-process service. All that a run does at a step is in: data,
augmentation, learning rate, loss. About a minute and a half.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from device_session import shared_gpu

from bn_repro.cli.entry import exit_with
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.records import paths

WIDTHS = (0.25, 0.5, 1.0)
MODULES = {"ten": "null", "four": "[3b,4a,4e,5b]"}
EXPERIMENTS = ("imagenet/bn_x5", "imagenet/inception")
LAPS = 3
"""Evaluations of a run; only the steps before the last one are timed, after any warm-up."""


def words(experiment: str, width: float, modules: str, device: str) -> list[str]:
    """A run on synthetic images of the photographs' size and number of classes."""
    return [
        f"experiment={experiment}",
        "data=synthetic",
        "data.classes=20",
        "data.train_images=1024",
        "data.image_size=64",
        f"model.width={width}",
        f"model.modules={modules}",
        f"device={device}",
        "train.population_batches=0",
        "train.trace_every=0",
        "train.trace_dense=0",
        "train.trace_sites=[conv1]",
    ]


def milliseconds(given: list[str], engine: str, steps: int) -> float:
    """Of one step, over the last ``steps`` of a run."""
    from bn_repro.training.run import run  # torch

    with tempfile.TemporaryDirectory() as runs:
        length = [f"train.steps={LAPS * steps}", f"train.eval_every={steps}"]
        config = compose([*given, *length, f"train.engine={engine}", f"runs={runs}"])
        outcome = run(config, log=lambda line: None)
        if outcome.state not in ("completed", "diverged"):
            raise SystemExit(f"{outcome.state}: {outcome.error}")
        rows = (directory_of(config) / paths.TIMING).read_text().splitlines()
        rates = [json.loads(row).get("examples_per_second") for row in rows]
        return 1000 * config.train.batch_size / [rate for rate in rates if rate][-1]


def at_once(jobs: int, given: list[str], engine: str, steps: int) -> float:
    """Milliseconds of a step of each of ``jobs`` runs at once, the mean."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return fmean(pool.map(milliseconds, repeat(given, jobs), repeat(engine), repeat(steps)))


def main() -> None:
    """Print the tables, line by line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8, help="runs at once")
    parser.add_argument("--steps", type=int, default=150, help="steps timed, as a graph")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    engines = ("eager", "graphed") if given.device == "cuda" else ("eager", "eager")
    begun = time.monotonic()
    print(f"{'experiment':<20} {'modules':<7} {'width':>5} {'eager':>8} {'graphed':>8}  ms a step")
    for experiment, (modules, names), width in product(EXPERIMENTS, MODULES.items(), WIDTHS):
        network = words(experiment, width, names, given.device)
        eager = milliseconds(network, engines[0], max(1, given.steps // 4))
        graphed = milliseconds(network, engines[1], given.steps)
        print(f"{experiment:<20} {modules:<7} {width:>5} {eager:>8.2f} {graphed:>8.2f}", flush=True)
    network = words(EXPERIMENTS[0], WIDTHS[0], MODULES["ten"], given.device)

    def several(how: str) -> None:
        each = at_once(given.jobs, network, engines[1], 2 * given.steps)
        total = 1000 * given.jobs / each
        print(f"{given.jobs} at once: {each:.2f} ms each, {total:.0f} steps/s in all; {how}")

    several("taking turns")
    with tempfile.TemporaryDirectory() as scratch, shared_gpu(Path(scratch)) as how:
        several(how)
    print(f"{time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    exit_with(main)
