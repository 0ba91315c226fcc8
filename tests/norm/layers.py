"""What tests of BN layers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bn_repro import norm


def randomized(layer: norm.BatchNorm, dtype: torch.dtype = torch.float64) -> norm.BatchNorm:
    """`layer` with gamma, beta and moving averages that are not the initial 1 and 0."""
    layer = layer.to(dtype)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            tensor.normal_()
        layer.running_var.uniform_(0.5, 2)
    return layer


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """An input away from mean 0 and variance 1."""
    return (3 + 2 * torch.randn(shape, dtype=torch.float64)).to(dtype)


def snapshot(network: nn.Module) -> dict[str, bytes]:
    """All that `network` holds, byte for byte."""
    return {name: t.numpy(force=True).tobytes() for name, t in network.state_dict().items()}
