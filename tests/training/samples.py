"""What a probe sees, of images that a test has; short runs, and networks small enough to follow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import TrainConfig
from bn_repro.data.batches import Picture
from bn_repro.models.mlp import MLP
from bn_repro.stop_signal import StopFlag
from bn_repro.training.evaluate import Pairs
from bn_repro.training.probes import Sample
from bn_repro.training.run import run

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=60", "train.checkpoint_every=20"]


def train(folder: Path, *words: str, stop_at: int | None = None) -> Path:
    """The directory of a run of 60 steps, stopped by SIGTERM from a step on, if one is given."""
    config, stop = compose([*SMOKE, f"runs={folder}", *words]), StopFlag()

    def progress(step: int, values: Any) -> None:
        if stop_at is not None and step >= stop_at:
            stop.name = "SIGTERM"

    run(config, log=lambda line: None, stop=stop, progress=progress)
    return directory_of(config)


def network(kind: norm.Norm, **how: Any) -> Any:
    """A network of three hidden layers, in training mode."""
    generator, widths = torch.Generator().manual_seed(0), [20, 7, 5, 6, 10]
    return MLP(norm=kind, generator=generator, widths=widths, init_std=0.5, **how).train()


def mini_batch() -> tuple[Tensor, Tensor]:
    """60 examples for it: x (60, 20), and their classes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 20, generator=generator)
    return x, torch.randint(10, (60,), generator=generator)


def sample_of(
    batch: tuple[Tensor, Tensor],
    training: list[Tensor] | None = None,
    size: int = 60,
    rate: float = 0.1,
) -> Sample:
    """A sample whose split is ``batch``, in the order it has."""
    x, y = batch

    def split(size: int) -> Pairs:
        return list(zip(x.split(size), y.split(size), strict=True))

    def drawn(count: int) -> Iterator[Tensor]:
        return iter((training or [])[:count])

    at = TrainConfig(batch_size=size)
    epoch, picture = len(training or []), Picture((1, 1, x[0].numel()))
    return Sample(lambda: batch, split, drawn, at, epoch, rate, picture)
