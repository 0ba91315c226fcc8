"""What a probe sees, of images that a test has; short runs, and networks small enough to follow."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from resumed import silent, stopped
from torch import Tensor

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import TrainConfig
from bn_repro.data.batches import Picture
from bn_repro.models.mlp import MLP
from bn_repro.training.evaluate import Pairs
from bn_repro.training.graphed import Graphed
from bn_repro.training.probes import Sample
from bn_repro.training.run import run

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=60", "train.checkpoint_every=20"]


def train(folder: Path, *words: str, stop_at: int | None = None) -> Path:
    """The directory of a run of 60 steps, stopped by SIGTERM from a step on, if one is given."""
    config = compose([*SMOKE, f"runs={folder}", *words])
    run(config, log=silent) if stop_at is None else stopped(config, stop_at)
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


def as_a_graph(model):
    """What a CUDA graph does, by other means: recording changes no value, a replay does the work
    again on what then lies in the tensors recorded, into those returned, and attaches nothing."""

    def capture(work):
        before = copy.deepcopy(model.state_dict())
        with torch.random.fork_rng():
            made = work()
        model.load_state_dict(before)

        def again():
            attached = [(p, p.grad) for p in model.parameters()]
            loss, logits, grads = work()
            made[0].copy_(loss)
            made[1].copy_(logits)
            for (_, kept), (_, grad) in zip(made[2], grads, strict=True):
                kept.copy_(grad)
            for parameter, grad in attached:
                parameter.grad = grad

        return made, again

    return capture


def graphed(model, optimizer, precision):
    """An engine that steps as a graph does: a step is recorded once, then done again and again."""
    return Graphed(model, optimizer, precision, as_a_graph(model))
