"""Measure what a run of section 4.1's network costs, whole: its steps, its start, its memory.

Each round measures all of a part in turn, on one core; medians of the rounds are printed, and
written to results/bench. Run it on a machine that does nothing else.

    python scripts/benchmark_runs.py [--rounds 5] [--steps 30000] [--tiny FOLDER]
        [--out results/bench]

With --tiny, the folder of Tiny ImageNet (docs/data.md), the memory of a run on its photographs
is measured too.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from benchmark import PATCH, streaming_rates
from torch import nn

from bn_repro.cli.entry import exit_with
from bn_repro.config.compose import compose
from bn_repro.data.mnist import mnist_binary
from bn_repro.records.paths import RESULTS
from bn_repro.training.run import hardware_of, run
from bn_repro.training.world import cores

ROOT = Path(__file__).parent.parent
FIRST = 100
"""The steps before this one warm up, and are left out."""
LAYERS, BATCH = (784, 100, 100, 100, 10), 60
WORDS = ["experiment=mnist/bn", "device=cpu"]
AS_A_USER = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""The environment of a Python that keeps bytecode, as it does by default."""
SEEDS = 500
Row = tuple[str, float, str, str]
"""What was measured, its median, its unit, and the bar."""


def whole(steps: int, *words: str) -> float:
    """Seconds of a run with its data, evaluations, traces, records and checkpoints."""
    with tempfile.TemporaryDirectory() as runs:
        config = compose([*WORDS, f"train.steps={steps}", f"runs={runs}", *words])
        begun = time.perf_counter()
        outcome = run(config, log=lambda line: None)
        assert outcome.state == "completed", outcome.error
        return time.perf_counter() - begun


def products(steps: int) -> float:
    """Seconds of the matrix products of these steps alone."""
    work = matrix_products(LAYERS, BATCH)
    begun = time.perf_counter()
    for _ in range(steps):
        work()
    return time.perf_counter() - begun


def matrix_products(widths: Sequence[int], batch: int) -> Callable[[], None]:
    """The products of a step: forward, gradients of weights, and of all inputs but the images."""
    weights = [torch.randn(n, m) for m, n in itertools.pairwise(widths)]
    inputs = [torch.randn(batch, n) for n in widths]

    def work() -> None:
        for u, w in zip(inputs, weights, strict=False):
            torch.mm(u, w.T)
        for k in reversed(range(len(weights))):
            torch.mm(inputs[k + 1].T, inputs[k])
            if k:
                torch.mm(inputs[k + 1], weights[k])

    return work


def tutorial(steps: int) -> float:
    """Seconds of a plain PyTorch loop on images in memory, without evaluation or records."""
    x, y = mnist_binary().on("cpu", "train")
    x = x.float()
    sizes = itertools.pairwise(LAYERS[:-1])
    hidden = [[nn.Linear(m, n), nn.BatchNorm1d(n), nn.Sigmoid()] for m, n in sizes]
    model = nn.Sequential(*(m for layer in hidden for m in layer), nn.Linear(*LAYERS[-2:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    begun = time.perf_counter()
    for _ in range(steps):
        index = torch.randint(len(x), (BATCH,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[index]), y[index])
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - begun


def of_steps(rounds: int, steps: int) -> Iterator[Row]:
    """A step from the 100th to the last, and as a ratio to its products."""
    n, columns = steps - FIRST, []
    parts: dict[str, Callable[[], float]] = {
        "its matrix products alone": lambda: products(n),
        "a run": lambda: whole(steps) - whole(FIRST),
        "a run, train.engine=eager": lambda: (
            whole(steps, "train.engine=eager") - whole(FIRST, "train.engine=eager")
        ),
        "a plain PyTorch loop": lambda: tutorial(n),
    }
    for part in parts.values():
        part()  # once to warm up
    for _ in range(rounds):
        columns.append([part() for part in parts.values()])
    for k, name in enumerate(parts):
        yield f"a step: {name}", 1e6 * statistics.median(c[k] / n for c in columns), "us", ""
    for k, name in list(enumerate(parts))[1:]:
        bar = "at most 1.5" if name == "a run" else ""
        yield f"{name} / products", statistics.median(c[k] / c[0] for c in columns), "", bar


def process(*words: str, code: int = 0) -> tuple[float, float, float]:
    """A command's seconds to its first line and to its end, and its greatest memory in MB.

    RuntimeError where it ends with another code than ``code``.
    """
    begun = time.perf_counter()
    command = [sys.executable, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    child = subprocess.Popen(command, cwd=ROOT, env=AS_A_USER, **pipes)
    assert child.stdout is not None
    with child.stdout as output:
        said = output.readline()
        first = time.perf_counter() - begun
        said += output.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != code:
        raise RuntimeError(f"{' '.join(words)}: exit code {child.returncode}: {said.decode()}")
    return first, time.perf_counter() - begun, used.ru_maxrss / 1024


def of_starts(rounds: int) -> Iterator[Row]:
    """Commands as a user gives them."""
    columns: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        train = ["scripts/train.py", *WORDS, "train.steps=10", f"runs={folder}"]
        for _ in range(rounds + 1):
            shutil.rmtree(folder, ignore_errors=True)
            _, torch_seconds, torch_memory = process("-c", "import torch")
            first, seconds, memory = process(*train)
            again, refused = process(*train)[1], process(*train, "optimizer.rate=1", code=2)[1]
            above = seconds - torch_seconds, memory - torch_memory
            columns.append([torch_seconds, first, above[0], again, refused, above[1]])
    for name, values, unit, bar in zip(
        (
            "import torch",
            "first word of a run",
            "a run of 10 steps, above import torch",
            "a finished run asked for again",
            "a refused key",
            "memory of a run, above import torch",
        ),
        zip(*columns[1:], strict=True),  # the first round fills the caches of files
        ("s", "s", "s", "s", "s", "MB"),
        ("", "at most 0.5", "at most 0.8", "under 0.8", "under 1", "at most 250"),
        strict=True,
    ):
        yield name, statistics.median(values), unit, bar


def of_lengths(rounds: int, lengths: Sequence[int] = (100, 1_000, 10_000)) -> Iterator[Row]:
    """Runs of so many steps, from the command to its end."""
    for steps in lengths:
        took = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                words = [*WORDS, f"train.steps={steps}", f"runs={folder}"]
                took.append(process("scripts/train.py", *words)[1])
        yield f"a run of {steps:,} steps, with its start", statistics.median(took), "s", ""


def of_a_finished_sweep(rounds: int, seeds: int = SEEDS) -> Iterator[Row]:
    """A sweep asked for again whose runs are all finished: copies of one run of 10 steps."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*WORDS, "train.steps=10", f"runs={folder}"]
        process("scripts/train.py", *words, "seed=0")
        (one,) = Path(folder).glob("mnist/*/seed0")
        config = (one / "config.yaml").read_text(encoding="utf-8")
        for seed in range(1, seeds):
            copy = one.with_name(f"seed{seed}")
            shutil.copytree(one, copy)
            mine = config.replace("\nseed: 0\n", f"\nseed: {seed}\n")
            (copy / "config.yaml").write_text(mine, encoding="utf-8")
        sweep = ["scripts/train.py", "-m", *words, f"seed=range(0,{seeds})"]
        took = [process(*sweep)[1] for _ in range(rounds)]
    yield (
        f"a sweep of {seeds} finished runs asked for again",
        statistics.median(took),
        "s",
        "under 3",
    )


def of_cores(rounds: int, jobs: int, steps: int = 10_000) -> Iterator[Row]:
    """Seeds of a sweep one after the other, and as many at once as there are cores."""
    seeds = 2 * jobs

    def sweep(at_once: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            words = [*WORDS, f"train.steps={steps}", f"seed=range(0,{seeds})", f"runs={folder}"]
            return process("scripts/train.py", "-m", *words, f"hydra.launcher.jobs={at_once}")[1]

    pairs = [(sweep(1), sweep(jobs)) for _ in range(rounds)]
    for at_once, took in zip((1, jobs), zip(*pairs, strict=True), strict=True):
        name = f"a sweep of {seeds} runs of {steps:,} steps, {at_once} at once"
        yield name, statistics.median(took), "s", ""
    ratio = statistics.median(one / several for one, several in pairs)
    yield f"one at a time / {jobs} at once", ratio, "", ""


def of_the_loader(rounds: int) -> Iterator[Row]:
    """Decoding and cropping photographs: a streaming worker's part against Pillow alone."""
    part, loader, bare, ratio = next(streaming_rates(rounds))
    yield f"streaming photographs at {PATCH}, {part}, a core", loader, "images/s", ""
    yield "the same by Pillow alone", bare, "images/s", ""
    yield "streaming / Pillow", ratio, "", "at least 0.85"


def of_photographs(root: Path) -> Iterator[Row]:
    """The memory of a run on Tiny ImageNet, whose photographs it holds decoded; measured once."""
    images = sum(1 for _ in (root / "train").glob("*/images/*"))
    with tempfile.TemporaryDirectory() as folder:
        words = ["experiment=imagenet/bn_x5", "device=cpu", f"data.root={root}", "train.steps=10"]
        words += ["train.population_batches=0", "data.eval_limit=500", f"runs={folder}"]
        memory = process("scripts/train.py", *words)[2] - process("-c", "import torch")[2]
    name = f"memory of a run on {images:,} photographs at 64x64, above import torch"
    yield name, memory, "MB", "under 2000"


@contextmanager
def one_core() -> Iterator[None]:
    """Within: this process and its children have one core, where the system can bind them."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(1)
    if before:
        os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def line(row: Row) -> str:
    """A row of the table in ``README.md``."""
    name, value, unit, bar = row
    number = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"| {name} | {f'{number} {unit}'.strip()} | {bar} |"


def page(rows: list[Row], rounds: int, steps: int) -> str:
    """``README.md``: the table, how it was measured, and on what."""
    machine = hardware_of(torch.device("cpu"), 1)
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return "\n".join(
        [
            "# What a run costs",
            "",
            f"`experiment=mnist/bn`, medians of {rounds} rounds, {machine}; {versions}.",
            "",
            "| | measured | the bar |",
            "|---|---|---|",
            *map(line, rows),
            "",
            f"A run's steps are those from {FIRST} to {steps:,}, with its evaluations, traces,",
            "records and checkpoints. The products are those of a step's forward and backward",
            "pass. The plain loop has its images in memory, and neither evaluates nor records.",
            "",
            "How a step's cost grows with width, depth and mini-batch, and what share of the",
            "core's measured peak Inception reaches (dashed: without BN):",
            "",
            "![scaling](scaling.png)",
            "",
            "[scaling.csv](scaling.csv) has the numbers. Left out: GPUs",
            "(`python scripts/benchmark.py gpu`).",
            "",
            "`python scripts/benchmark_runs.py` writes this page, `benchmark_scaling.py` its",
            "figure; `make bench` runs both on a machine that does nothing else.",
            "",
        ]
    )


def measured(rounds: int, steps: int, tiny: Path | None) -> Iterator[Row]:
    """All rows, each as soon as it is known."""
    with one_core():
        yield from of_starts(rounds)
        yield from of_a_finished_sweep(rounds)
        yield from of_lengths(rounds)
        yield from of_steps(rounds, steps)
        yield from of_the_loader(rounds)
        if tiny:
            yield from of_photographs(tiny.resolve())
    yield from of_cores(rounds, cores())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--tiny", type=Path, help="folder of Tiny ImageNet")
    parser.add_argument("--out", type=Path, default=RESULTS / "bench")
    asked: Any = parser.parse_args()
    rows = []
    for row in measured(asked.rounds, asked.steps, asked.tiny):
        print(line(row), flush=True)  # half an hour, of which a stop loses nothing
        rows.append(row)
    asked.out.mkdir(parents=True, exist_ok=True)
    text = page(rows, asked.rounds, asked.steps)
    (asked.out / "README.md").write_text(text, encoding="utf-8")
    with open(asked.out / "bench.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("what", "median", "unit", "bar"), *rows])


if __name__ == "__main__":
    exit_with(main)
