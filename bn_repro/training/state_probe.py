"""A probe of section 5's hypothesis, that normalization improves gradient propagation in time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.models.recurrent import Recurrent
from bn_repro.training.activations import Row

IMAGES = 60
"""The images of the probe's mini-batch; section 4.1 trains on as many."""


def state_gradients(model: Recurrent, batch: tuple[Tensor, Tensor]) -> Iterator[Row]:
    """How large the gradient is that reaches the state h_t, by the step ``t``, from 1.

    ``gradient`` is the norm of dl/dh_t of an image, averaged over the mini-batch, with l the mean
    cross-entropy; ``relative`` the same over that of the last state: 1 where a step back neither
    shrinks nor enlarges the gradient. The norm layers are in training mode, so that l depends on
    h_t through the statistics too; dropout is off. A copy in float64 is used: where the images of a
    mini-batch hardly differ, as in the first rows of digits, BN enlarges the gradient so much that
    float32 would round it away.
    """
    copied = copy.deepcopy(model).double().eval()
    copied.norms.train()
    states: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...], h: Tensor) -> None:
        states.append(h)

    x, labels = batch[0][:IMAGES].double(), batch[1][:IMAGES]
    with ExitStack() as hooks, torch.random.fork_rng([x.device] if x.is_cuda else []):
        for nonlinearity in copied.nonlinearities:
            hooks.enter_context(nonlinearity.register_forward_hook(keep))
        loss = F.cross_entropy(copied(x), labels)
    norms = [dh.norm(dim=1).mean().item() for dh in torch.autograd.grad(loss, states)]
    for t, norm in enumerate(norms, start=1):
        relative = norm / norms[-1] if norms[-1] else float("nan")
        yield {"t": t, "gradient": norm, "relative": relative}
