"""Measure the costs of loop, data and engines as ratios within one run: make bench.

Each pair is timed in turn, several rounds, on one thread. The median of the rounds' ratios is
printed, so that a machine whose speed drifts, or that does other things too, misleads less.

    python scripts/benchmark.py [loop] [streaming] [gpu] [--rounds 5]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bn_repro.cli.entry import exit_with
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.data import imagenet
from bn_repro.data.augment import Preprocessing, patch_boxes
from bn_repro.data.listing import list_images
from bn_repro.data.streaming import Reader, patches
from bn_repro.records import paths
from bn_repro.training.eager import gradients
from bn_repro.training.optimizer import sgd
from bn_repro.training.run import build, run
from bn_repro.training.step import ENGINES

Row = tuple[str, str, str, str]


def bare_loop(words: list[str], steps: int) -> float:
    """Seconds a step of the same network on mini-batches that are there already."""
    config = compose(words)
    model, data = build(config)
    batch = config.train.batch_size
    some = list(data.train_batches(seed=0, first_step=1, steps=20, batch_size=batch))
    optimizer = sgd(model, config)
    model.train()
    begun = time.perf_counter()
    for step in range(steps):
        loss, _ = gradients(model, *some[step % len(some)], optimizer)
        loss.item()
        optimizer.step()
    return (time.perf_counter() - begun) / steps


def whole_loop(words: list[str], steps: int) -> float:
    """Seconds a step of a run with its data, records and traces (evaluations left out)."""
    with tempfile.TemporaryDirectory() as runs:
        config = compose(
            [*words, f"train.steps={steps}", f"train.eval_every={steps}", f"runs={runs}"]
        )
        outcome = run(config, log=lambda line: None)
        assert outcome.state == "completed", outcome.error
        lines = (directory_of(config) / paths.TIMING).read_text().splitlines()
        return config.train.batch_size / json.loads(lines[-1])["examples_per_second"]


def loop(rounds: int) -> list[Row]:
    """The loop with all it does, against the bare step; both on the CPU."""
    rows, drawn = [], ["data=synthetic", "data.classes=100"]
    for name, steps, words in (
        ("MNIST, with BN", 10_000, ["experiment=mnist/bn"]),
        ("Inception, width 0.5 at 64", 1_000, ["experiment=imagenet/bn_x5", *drawn]),
    ):
        words += ["train.population_batches=0", "device=cpu"]
        pairs = [
            (whole_loop(words, steps), bare_loop(words, min(steps, 200 if "Inc" in name else 5000)))
            for _ in range(rounds)
        ]
        ratio = statistics.median(a / b for a, b in pairs)
        whole, bare = (1000 * statistics.median(x) for x in zip(*pairs, strict=True))
        rows.append(
            (name, f"{whole:.3f} ms a step", f"bare {bare:.3f} ms", f"{ratio:.3f} (at most 1.05)")
        )
    return rows


PHOTOGRAPH = (456, 394)
"""Width and height of those drawn here: the means of 100 of ImageNet's, as are their 104 kB."""
PATCH = 224
"""Width and height of what the network sees."""


def photographs(root: Path, n: int) -> None:
    """``n`` JPEGs for training and two for validation, all of one class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", n), ("val", 2)):
        (root / split / "n0").mkdir(parents=True)
        for k in range(count):
            coarse = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
            image.save(root / split / "n0" / f"{k}.JPEG", quality=95, subsampling=0)


def streaming(rounds: int) -> list[Row]:
    """The rates of ``streaming_rates`` as rows of the table."""
    return [
        (
            f"streaming at {PATCH}, {part}",
            f"{loader:.0f} images/s a core",
            f"Pillow {bare:.0f}",
            f"{ratio:.2f} (at least 0.85)",
        )
        for part, loader, bare, ratio in streaming_rates(rounds)
    ]


def streaming_rates(rounds: int) -> Iterator[tuple[str, float, float, float]]:
    """The streaming loader against Pillow's decode and crop of the same patches, on one core.

    A row is a part, its images per second, Pillow's, and the ratio; medians of the rounds. The
    first part is what a worker does, which is what a GPU waits for: distortions and normalization
    are done on the device. The others are all of it in one process, as where there is no GPU.
    """
    with tempfile.TemporaryDirectory() as folder:
        root, n = Path(folder), 256
        photographs(root, n)
        view = partial(patches, 0)
        reader = Reader(list_images(root), "train", view, PATCH, limit=0, replace=True)

        def worker() -> None:
            for batch in np.arange(n).reshape(-1, 32):
                reader[0, batch]

        def whole(photometric: str) -> Callable[[], None]:
            preprocessing = Preprocessing(photometric=photometric)
            data = imagenet.imagenet(root, preprocessing, size=PATCH, workers=0)

            def work() -> None:
                for _ in data.train_batches(seed=0, first_step=1, steps=n // 32, batch_size=32):
                    pass

            return work

        def pillow() -> None:
            files = sorted((root / "train" / "n0").iterdir())
            width, height = PHOTOGRAPH
            boxes = patch_boxes(0, 0, range(n), width / height)[:, :4] * (2 * PHOTOGRAPH)
            for path, box in zip(files, boxes.tolist(), strict=True):
                with Image.open(path) as image:
                    image.resize((PATCH, PATCH), Image.Resampling.BILINEAR, box).tobytes()

        def rate(work: Callable[[], None]) -> float:
            begun = time.process_time()
            work()
            return n / (time.process_time() - begun)

        def row(part: str, work: Callable[[], None]) -> tuple[str, float, float, float]:
            pairs = [(rate(work), rate(pillow)) for _ in range(rounds)]
            loader, bare = (statistics.median(x) for x in zip(*pairs, strict=True))
            return part, loader, bare, statistics.median(ours / bare for ours, bare in pairs)

        parts: dict[str, Callable[[], None]] = {"a worker's part": worker}
        parts |= {f"photometric={p}": whole(p) for p in ("none", "full")}
        yield from (row(part, work) for part, work in parts.items())


def ceilings(device: torch.device) -> tuple[float, float]:
    """What the device does at best: FLOP/s of a product in bfloat16, bytes/s of a copy."""
    n, gigabyte = (8192, 2**30) if device.type == "cuda" else (512, 2**24)
    a, b = torch.randn(2, n, n, dtype=torch.bfloat16, device=device)
    source = torch.empty(gigabyte, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    flops = 2 * n**3 / seconds(lambda: a @ b, device)
    return flops, 2 * gigabyte / seconds(lambda: target.copy_(source), device)


def seconds(work: Callable[[], object], device: torch.device, times: int = 20) -> float:
    """Seconds a call, averaged over many: a GPU works asynchronously."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(5):
        work()
    wait()
    begun = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - begun) / times


def least_work(model: nn.Module, step: Callable[[], object]) -> tuple[int, int]:
    """FLOPs and bytes that a training step cannot do without.

    Products are counted as they are called. What the backward pass needs is written once and read
    once; a weight is read in both passes, its gradient written and read, its momentum and itself
    read and written.
    """
    kept: dict[int, int] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
    ):
        step()
    weights = {p.untyped_storage().data_ptr(): p.nbytes for p in model.parameters()}
    activations = sum(size for at, size in kept.items() if at not in weights)
    return counter.get_total_flops(), 2 * activations + 8 * sum(weights.values())


def gpu(
    rounds: int,
    device: str = "cuda",
    sizes: Sequence[int] = (64, 224),
    batches: Sequence[int] = (32, 256),
    width: float = 1.0,
) -> list[Row]:
    """Training steps of Inception in bfloat16 on resident data: one graph a step, or eager.

    The last column has how many times faster the graph is, and the share of the roofline: the time
    of the least work at the measured ceilings over the time taken.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return [("GPU", "none here", "", "")]
    there = torch.device(device)
    flops, bandwidth = ceilings(there)

    def row(size: int, batch: int) -> Row:
        words = ["experiment=imagenet/bn_x5", "data=synthetic", f"data.image_size={size}"]
        config = compose([*words, f"model.width={width}", "data.train_images=512"])
        model, data = build(config)
        model = model.to(there).train()
        optimizer = sgd(model, config)
        first = data.train_batches(seed=0, first_step=1, steps=1, batch_size=batch, device=there)
        x, y = next(iter(first))
        pair: dict[str, Callable[[], object]] = {}
        for engine in ("graphed", "eager") if device == "cuda" else ("eager", "eager"):
            compute = ENGINES[engine](model, optimizer, "bfloat16")
            pair[engine] = partial(compute, x, y)
        times = [[seconds(step, there) for step in pair.values()] for _ in range(rounds)]
        ours, eager = (statistics.median(column[k] for column in times) for k in (0, -1))
        work, traffic = least_work(model, pair["eager"])
        share = max(work / flops, traffic / bandwidth) / ours
        return (
            f"Inception on {device} at {size}, batch {batch}",
            f"{batch / ours:,.0f} images/s",
            f"eager {batch / eager:,.0f}",
            f"{eager / ours:.2f}, {100 * share:.1f} % of the roofline",
        )

    rows = []
    for size, batch in itertools.product(sizes, batches):
        try:
            rows.append(row(size, batch))
        except torch.OutOfMemoryError:
            rows.append((f"Inception on {device} at {size}, batch {batch}", "too large", "", ""))
    return rows


PARTS: dict[str, Callable[[int], list[Row]]] = {"loop": loop, "streaming": streaming, "gpu": gpu}


def main() -> None:
    """Print the table of the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for part in set(arguments.parts) - set(PARTS):
        parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for name in ("what", "this project", "against", "ratio"):
        table.add_column(name)
    for part in arguments.parts or PARTS:
        for row in PARTS[part](arguments.rounds):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    exit_with(main)
