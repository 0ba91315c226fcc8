"""Algorithm 2, line 10: what a trained network normalizes by at inference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bn_repro.norm.batch_norm import BatchNorm, layers_of

Batches = Iterable[Tensor | Sequence[Tensor]]
"""Inputs x, or pairs (x, y) of which y is left out."""


def estimate_population_statistics(model: nn.Module, batches: Batches) -> None:
    """Algorithm 2, line 10: the population statistics of a trained `model`, for inference.

    Runs `model` over `batches`, inputs of several training mini-batches of one size m, and writes

        E[x] = mean of mu,   Var[x] = mean of m / (m - 1) * var   (m' for m on feature maps)

    into running_mean and running_var of each BN layer. The means are over the mini-batches, summed
    in float64; a layer that is applied several times counts each, with its own m. Weights are
    frozen, and all layers but BN (such as dropout) are in eval mode. As in N_BN^tr every layer
    normalizes by its mini-batch, so the next layer sees what it sees in training. A layer that is
    not reached (in an auxiliary classifier) keeps its moving averages. A model with synchronized
    layers must run on all ranks at once, each with its part of every mini-batch.

    Layers of `torch.nn` stay in eval mode, by their own averages. (Likewise
    `torch.optim.swa_utils.update_bn` and `nn.SyncBatchNorm.convert_sync_batchnorm` ignore ours.)

    Raises ValueError, and writes nothing, for a model without a BN layer of `bn_repro.norm`,
    without mini-batches or if their shapes differ.
    """
    layers = layers_of(model)
    sums, count = defaultdict[BatchNorm, Any](float), defaultdict[BatchNorm, int](int)

    def take(layer: BatchNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        _, mu, var, m = layer.normalize(*inputs)
        mu, var = torch.stack([mu, var]).cpu().double()
        sums[layer] += torch.stack([mu, float(m / (m - 1)) * var])
        count[layer] += 1

    shape = None
    with torch.no_grad(), normalizing_by_mini_batch(model), ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(take))
        for batch in batches:
            x = batch if isinstance(batch, Tensor) else batch[0]
            shape = shape or x.shape
            if x.shape != shape:
                raise ValueError(
                    "population statistics: Algorithm 2 needs mini-batches of one size, got "
                    f"{tuple(x.shape)} after {tuple(shape)}; leave an incomplete last one out"
                )
            model(x)
    if shape is None:
        raise ValueError("population statistics: no mini-batches given to estimate them from")
    for layer in sums:
        mean, variance = sums[layer] / count[layer]
        layer.running_mean.copy_(mean.view_as(layer.running_mean))
        layer.running_var.copy_(variance.view_as(layer.running_var))


@contextmanager
def population_statistics(model: nn.Module, batches: Batches) -> Iterator[None]:
    """`estimate_population_statistics` for a `with` block; then the averages are restored."""
    with restored(model):
        estimate_population_statistics(model, batches)
        yield


@contextmanager
def normalizing_by_mini_batch(model: nn.Module) -> Iterator[None]:
    """Within, BN normalizes by the mini-batch (N_BN^tr), and all other layers are in eval mode.

    Then the modes and the moving averages are restored. ValueError without a layer of ours.
    """
    layers = layers_of(model)
    with restored(model):
        model.eval()
        for layer in layers:
            layer.train()
        yield


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Restore, on exit, the modes of `model` and the buffers of its BN layers."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [b for module, _ in modes if isinstance(module, BatchNorm) for b in module.buffers()]
    values = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        for module, mode in modes:
            module.training = mode
