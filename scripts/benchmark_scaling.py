"""Measure how the cost of a training step grows: make bench.

For section 4.1's network a step by each engine and its matrix products, over the width, the depth
and the mini-batch; for Inception a step over the size of the images and the width, as a share of
what the core does in a large product. All on one core, in turn; medians of the rounds are written
to results/bench as a table and a figure.

    python scripts/benchmark_scaling.py [--rounds 5] [--out results/bench]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark_runs import matrix_products, one_core
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from bn_repro.analysis import style
from bn_repro.cli.entry import exit_with
from bn_repro.config.compose import compose
from bn_repro.records.paths import RESULTS
from bn_repro.training.optimizer import sgd
from bn_repro.training.run import build
from bn_repro.training.step import ENGINES

SECONDS = 0.4
"""How long each timing takes, at least."""
VARIED = {
    "width": (25, 50, 100, 200, 400, 800),
    "depth": (1, 3, 10, 40),
    "mini-batch": (15, 60, 240, 960),
}
USUAL = {"width": 100, "depth": 3, "mini-batch": 60}
SIZES, WIDTHS = (32, 64, 96), (0.125, 0.25, 0.5)


class Timed(NamedTuple):
    """A step at one setting: microseconds, and as a ratio to products or a share of the peak."""

    network: str
    varied: str
    setting: float
    what: str
    microseconds: float
    relative: float


def timed(work: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    work()
    begun, calls = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS or calls < 3:
        work()
        calls += 1
    return 1e6 * (time.perf_counter() - begun) / calls


def stepper(words: list[str], engine: str) -> Callable[[], Any]:
    """A step on a mini-batch that is there already."""
    config = compose([*words, "device=cpu"])
    model, data = build(config)
    model.train()
    size = config.train.batch_size
    x, y = next(iter(data.train_batches(seed=0, first_step=1, steps=1, batch_size=size)))
    optimizer = sgd(model, config)
    step = ENGINES[engine](model, optimizer, "float32")
    return lambda: step(x, y)


def of_mnist(rounds: int) -> Iterator[Timed]:
    """The network of section 4.1 with BN."""
    for varied, settings in VARIED.items():
        for setting in settings:
            at = {**USUAL, varied: setting}
            words = ["experiment=mnist/bn", f"train.batch_size={at['mini-batch']}"]
            words += [f"model.hidden=[{at['width']}]", f"model.depth={at['depth']}"]
            widths = [784, *[at["width"]] * at["depth"], 10]
            parts = {"products": matrix_products(widths, at["mini-batch"])}
            parts |= {engine: stepper(words, engine) for engine in ("by_hand", "eager")}
            columns = [{name: timed(work) for name, work in parts.items()} for _ in range(rounds)]
            for name in parts:
                ratio = statistics.median(c[name] / c["products"] for c in columns)
                yield Timed("mnist/bn", varied, setting, name, _median(columns, name), ratio)


def of_inception(rounds: int) -> Iterator[Timed]:
    """Inception with BN and without, mini-batch 32, as a share of the core's measured peak."""
    a, b = torch.randn(2, 1024, 1024)
    flops = 2 * 1024**3
    for size, width in itertools.product(SIZES, WIDTHS):
        parts: dict[str, Callable[[], Any]] = {"a product of 1024 x 1024": lambda: torch.mm(a, b)}
        work: dict[str, float] = {"a product of 1024 x 1024": flops}
        for name in ("bn_baseline", "inception"):
            words = [f"experiment=imagenet/{name}", "data=synthetic", f"data.image_size={size}"]
            words += [f"model.width={width}", "train.batch_size=32", "data.train_images=64"]
            parts[name] = stepper(words, "eager")
            work[name] = counted(parts[name])
        columns = [{name: timed(part) for name, part in parts.items()} for _ in range(rounds)]
        peak = "a product of 1024 x 1024"
        for name in ("bn_baseline", "inception"):
            share = statistics.median(work[name] / c[name] / (flops / c[peak]) for c in columns)
            yield Timed(
                f"imagenet/{name}",
                f"width {width:g}, image size",
                size,
                "eager",
                _median(columns, name),
                share,
            )


def counted(step: Callable[[], Any]) -> float:
    """Floating-point operations of a step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _median(columns: list[dict[str, float]], name: str) -> float:
    return statistics.median(column[name] for column in columns)


def draw(rows: list[Timed]) -> Figure:
    """Ratios to the products, and Inception's share of the peak."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.6), layout="constrained")
        axes = figure.subplots(1, 4)
        looks = {"by_hand": ("#0b4a8f", "o"), "eager": ("#e6912e", "s")}
        for ax, varied in zip(axes, VARIED, strict=False):
            for what, (color, marker) in looks.items():
                own = [r for r in rows if (r.varied, r.what) == (varied, what)]
                x, y = [r.setting for r in own], [r.relative for r in own]
                ax.plot(x, y, color=color, marker=marker, label=what)
            ax.set(xscale="log", xlabel=varied, ylim=(1, None))
            ax.set_xticks(VARIED[varied], [f"{v}" for v in VARIED[varied]], fontsize=6)
            ax.set_xticks([], minor=True)
        axes[0].set_ylabel("MNIST with BN: step / its products")
        axes[0].legend()
        for k, width in enumerate(WIDTHS):
            own = [r for r in rows if r.varied == f"width {width:g}, image size"]
            for name, line in (("imagenet/bn_baseline", "-"), ("imagenet/inception", "--")):
                part = [r for r in own if r.network == name]
                x, y = [r.setting for r in part], [100 * r.relative for r in part]
                label = f"width {width:g}" if line == "-" else None
                axes[3].plot(x, y, ls=line, marker="o", color=f"C{k}", label=label)
        axes[3].set(xlabel="image size", ylabel="Inception: % of the peak", ylim=(0, None))
        axes[3].set_xticks(SIZES)
        axes[3].legend(fontsize=6)
        style.letters(axes)
        return figure


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "bench")
    asked: Any = parser.parse_args()
    with one_core():
        rows = [*of_mnist(asked.rounds), *of_inception(asked.rounds)]
    asked.out.mkdir(parents=True, exist_ok=True)
    with open(asked.out / "scaling.csv", "w", newline="", encoding="utf-8") as file:
        lines = [[*r[:4], f"{r.microseconds:.4g}", f"{r.relative:.3g}"] for r in rows]
        csv.writer(file, lineterminator="\n").writerows([Timed._fields, *lines])
    draw(rows).savefig(asked.out / "scaling.png", dpi=200)
    for row in rows:
        print(*row[:4], f"{row.microseconds:.4g} us", f"{row.relative:.3g}")


if __name__ == "__main__":
    exit_with(main)
