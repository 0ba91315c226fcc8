"""How a mini-batch becomes gradients: eagerly, compiled, or as a CUDA graph replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AUXILIARY_WEIGHT = 0.3
"""Of the auxiliary classifier's loss (Szegedy 2014, sec. 5)."""


def gradients(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """Forward and backward of one mini-batch: its mean cross-entropy and its logits."""
    optimizer.zero_grad(set_to_none=True)
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


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Products in bfloat16 where asked for; BN takes its statistics in float32 all the same."""
    if precision == "float32":
        return nullcontext()  # a disabled autocast costs section 4.1's step 4 %
    return torch.autocast(device.type, torch.bfloat16)


class Replay(NamedTuple):
    """A step that was captured: ``again()`` does it anew, from ``x`` and ``y`` into the others."""

    x: Tensor
    y: Tensor
    loss: Tensor
    logits: Tensor
    grads: list[tuple[nn.Parameter, Tensor]]
    again: Callable[[], None]


Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Calls its argument once to record what it would do to the device, and gives what it returned and
how to do it."""


def cuda_graph(work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """``work`` as a CUDA graph: recorded, not done, in memory that stays its own."""
    graph = torch.cuda.CUDAGraph()
    # By default whatever another thread asks of the GPU ends the recording, and one of a
    # DataLoader's pins memory all the time.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work()
    return result, graph.replay


class Graphed:
    """``gradients`` with the launches of a whole step sent to the GPU at once.

    At a mini-batch of 32 a GPU is done with a layer before the next is launched: of Inception's
    step the launches are the greater part. A graph has them ready. It repeats the very kernels of
    the eager step, draws of dropout among them: these come from the generator's seed at each
    replay. The first steps are eager, as libraries choose and allocate then; so is a mini-batch of
    another shape. The returned loss is the caller's to keep, the logits are until the next call.
    """

    EAGER_FIRST = 3

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str,
        capture: Capture = cuda_graph,
    ) -> None:
        self.model, self.optimizer, self.precision = model, optimizer, precision
        self.capture, self.replay, self.seen = capture, None, 0

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits; the gradients are where the optimizer looks for them."""
        self.seen += 1
        if self.replay is None and self.seen > self.EAGER_FIRST:
            self.replay = self._captured(x, y)
        replay = self.replay
        if replay is None or replay.x.shape != x.shape:
            return gradients(self.model, x, y, self.optimizer, self.precision)
        replay.x.copy_(x)
        replay.y.copy_(y)
        replay.again()
        for parameter, grad in replay.grads:  # a step besides, for traces, puts others there
            parameter.grad = grad
        return replay.loss.clone(), replay.logits

    def _captured(self, x: Tensor, y: Tensor) -> Replay:
        own = x.clone(), y.clone()

        def work() -> Any:
            loss, logits = gradients(self.model, *own, self.optimizer, self.precision)
            found = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
            return loss, logits, found

        (loss, logits, grads), again = self.capture(work)
        return Replay(*own, loss, logits, grads, again)


Engine = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of a mini-batch x, y the loss and the logits, and the gradients where the optimizer looks."""


def eager(model: nn.Module, optimizer: torch.optim.Optimizer, precision: str) -> Engine:
    """Operator by operator."""
    return partial(gradients, model, optimizer=optimizer, precision=precision)


def compiled(model: nn.Module, optimizer: torch.optim.Optimizer, precision: str) -> Engine:
    """Fused by torch.compile, which replaces cuDNN's BN by a kernel of its own."""
    return eager(cast(nn.Module, torch.compile(model)), optimizer, precision)


ENGINES: dict[str, Callable[[nn.Module, torch.optim.Optimizer, str], Engine]] = {
    "eager": eager,
    "graphed": Graphed,
    "compiled": compiled,
}
