"""A probe of inference (sec. 3.1, Algorithm 2): the accuracy by each kind of statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from bn_repro.config.schema import TrainConfig
from bn_repro.norm import population_statistics
from bn_repro.norm.population import mini_batch_statistics
from bn_repro.training.activations import Row
from bn_repro.training.evaluate import Pairs, accuracies, evaluate

COUNTS = (1, 3, 10, 30, 100, 300, 1_000)
"""Over how many training mini-batches the exact statistics are, up to those of one epoch."""
TOGETHER = 1_000
"""Images normalized by statistics of their own, besides as many as a training mini-batch has."""


def statistics(
    model: nn.Module,
    split: Callable[[int], Pairs],
    training: Callable[[int], Iterator[Tensor]],
    *,
    at: TrainConfig,
    epoch: int,
) -> Iterator[Row]:
    """``loss`` and ``top1`` on ``split`` (in mini-batches of a size), by ``statistics``:

    - ``batch``: BN normalizes by each mini-batch of ``examples`` images; a short last one is left
      out, and a size that ``split`` does not reach.
    - ``moving``: by the moving averages as they are.
    - ``population``: by those of Algorithm 2 over the first ``mini_batches`` of ``training``; no
      more of them than one ``epoch`` has.

    In float32, whatever ``train.precision``. ValueError for a network without BN.
    """
    for size in dict.fromkeys((at.batch_size, TOGETHER)):
        whole = [pair for pair in split(size) if len(pair[1]) == size]
        if whole:
            yield {"statistics": "batch", "examples": size, **_by_mini_batch(model, whole)}
    yield {"statistics": "moving", **evaluate(model, split(at.eval_batch_size))}
    for count in COUNTS:
        if count <= epoch:
            with population_statistics(model, training(count)):
                measured = evaluate(model, split(at.eval_batch_size))
            yield {"statistics": "population", "mini_batches": count, **measured}


@torch.no_grad()
def _by_mini_batch(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    with mini_batch_statistics(model):
        return accuracies((model(x).float(), y) for x, y in batches)
