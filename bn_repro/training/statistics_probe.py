"""A probe of inference (sec. 3.1, Algorithm 2): the accuracy by each kind of statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import torch
from torch import Tensor, nn

from bn_repro.config.schema import TrainConfig
from bn_repro.norm import estimate_population_statistics
from bn_repro.norm.batch_norm import layers_of
from bn_repro.norm.population import normalizing_by_mini_batch, restored
from bn_repro.training.activations import Row
from bn_repro.training.evaluate import Pairs, accuracies, evaluate

COUNTS = (1, 3, 10, 30, 100, 300, 1_000)
"""How many training mini-batches Algorithm 2 takes; those within one epoch are used."""
LARGE_BATCH = 1_000
"""The mini-batch of ``batch`` besides one of training's size."""


def statistics(
    model: nn.Module,
    split: Callable[[int], Pairs],
    training: Callable[[int], Iterator[Tensor]],
    *,
    at: TrainConfig,
    epoch: int,
) -> Iterator[Row]:
    """``loss`` and ``top1`` on ``split`` (in mini-batches of a size), by ``statistics``:

    - ``batch``: BN normalizes by each mini-batch of ``examples`` images; a short last one is filled
      up with images before it, which count once. Left out where ``split`` has fewer.
    - ``moving``: by the moving averages as they are.
    - ``population``: by those of Algorithm 2 over the first ``mini_batches`` of ``training``; no
      more of them than one ``epoch`` has.

    In float32, whatever ``train.precision``. ValueError for a network without BN.
    """
    for size in dict.fromkeys((at.batch_size, LARGE_BATCH)):
        filled = _filled(split(size), size)
        if first := next(filled, None):
            own = _by_mini_batch(model, chain([first], filled))
            yield {"statistics": "batch", "examples": size, **own}
    yield {"statistics": "moving", **evaluate(model, split(at.eval_batch_size))}
    counts = [count for count in COUNTS if count <= epoch]
    with restored(model):
        for count in _estimated(model, training(counts[-1]), counts):
            measured = evaluate(model, split(at.eval_batch_size))
            yield {"statistics": "population", "mini_batches": count, **measured}


def _estimated(model: nn.Module, batches: Iterator[Tensor], counts: Sequence[int]) -> Iterator[int]:
    """Each of ``counts``, when BN's averages are Algorithm 2's over so many of ``batches``.

    Mean and variance are means over mini-batches, so parts are weighted by their numbers of them.
    """
    layers = layers_of(model)
    averages = [x for layer in layers for x in (layer.running_mean, layer.running_var)]
    means, done = [average.new_zeros(()).double() for average in averages], 0
    for count in counts:
        estimate_population_statistics(model, islice(batches, count - done))
        share = (count - done) / count
        for k, average in enumerate(averages):
            means[k] = means[k] + share * (average.double() - means[k])
            average.copy_(means[k])
        done = count
        yield count


def _filled(batches: Pairs, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches x of exactly ``size`` images, and the labels y of the last ones of each."""
    before = None
    for x, y in batches:
        if before is not None and len(x) < size:
            x = torch.cat([before, x])[-size:]
        if len(x) == size:
            yield x, y
        before = x


@torch.no_grad()
def _by_mini_batch(model: nn.Module, batches: Pairs) -> dict[str, float]:
    """The accuracies by each mini-batch's own statistics, over the images that have labels."""
    with normalizing_by_mini_batch(model):
        return accuracies((model(x).float()[-len(y) :], y) for x, y in batches)
