"""A step by PyTorch's operators and autograd, one by one or fused by torch.compile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.training.activations import ActivationRecorder, record_activations
from bn_repro.training.precision import autocast
from bn_repro.training.sgd import Optimizer

AUXILIARY_WEIGHT = 0.3
"""The weight of the auxiliary classifier's loss (Szegedy 2014, sec. 5)."""


def gradients(
    model: nn.Module, x: Tensor, y: Tensor, optimizer: Optimizer, precision: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Forward and backward of a mini-batch x (B, ...), y (B,): mean cross-entropy and logits."""
    optimizer.zero_grad()
    with autocast(x.device, precision):
        logits = model(x)
        if isinstance(logits, tuple):
            logits, auxiliary = logits
            extra = AUXILIARY_WEIGHT * F.cross_entropy(auxiliary.float(), y)
        else:
            extra = None
        loss = F.cross_entropy(logits.float(), y)
    (loss if extra is None else loss + extra).backward()
    return loss.detach(), logits.detach()


class Eager:
    """Operator by operator."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, precision: str) -> None:
        self.model, self.optimizer, self.precision = model, optimizer, precision

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits; the parameters are updated."""
        loss, logits = self._gradients(x, y)
        self.optimizer.step()
        return loss, logits

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return gradients(self.model, x, y, self.optimizer, self.precision)

    def traced(
        self, sites: Mapping[str, nn.Module], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, ActivationRecorder]:
        """Also the inputs of the ``sites``, modules of the model; the step runs eagerly."""
        with record_activations(sites) as activations:
            loss, logits = Eager._gradients(self, x, y)
        self.optimizer.step()
        return loss, logits, activations


class Compiled(Eager):
    """Fused by torch.compile, which replaces cuDNN's BN by a kernel of its own."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, precision: str) -> None:
        super().__init__(model, optimizer, precision)
        self.compiled = cast(nn.Module, torch.compile(model))

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return gradients(self.compiled, x, y, self.optimizer, self.precision)
