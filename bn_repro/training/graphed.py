"""A step as one CUDA graph: the eager step's kernels, launched all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bn_repro.training.eager import Eager, gradients
from bn_repro.training.sgd import Optimizer


class Replay(NamedTuple):
    """A captured step: ``again()`` repeats it, reading ``x, y`` and writing the other tensors."""

    x: Tensor
    y: Tensor
    loss: Tensor
    logits: Tensor
    grads: list[tuple[nn.Parameter, Tensor]]
    again: Callable[[], None]


Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Calls a function once to record its work for the device; gives its result, and a function that
does the recorded work."""


def cuda_graph(work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Record ``work`` as a CUDA graph, without doing it; the graph keeps memory of its own."""
    graph = torch.cuda.CUDAGraph()
    # By default a GPU call from another thread breaks the recording, and a DataLoader's thread
    # pins memory all the time.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work()
    return result, graph.replay


class Graphed(Eager):
    """:class:`Eager` with all kernel launches of :func:`gradients` sent to the GPU at once.

    At a mini-batch of 32 a GPU finishes a layer before the next is launched: launching takes most
    of Inception's step. A graph replays the same kernels as the eager step. Dropout draws new masks
    at each replay, from the generator's seed at that time. The first steps run eagerly, while
    libraries choose kernels and allocate; so does a mini-batch of another shape. The returned loss
    stays valid; the logits are overwritten by the next call.
    """

    EAGER_FIRST = 3

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, precision: str, capture: Capture = cuda_graph
    ) -> None:
        super().__init__(model, optimizer, precision)
        self.capture, self.replay, self.seen = capture, None, 0

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += 1
        if self.replay is None and self.seen > self.EAGER_FIRST:
            self.replay = self._capture(x, y)
        replay = self.replay
        if replay is None or replay.x.shape != x.shape:
            return gradients(self.model, x, y, self.optimizer, self.precision)
        replay.x.copy_(x)
        replay.y.copy_(y)
        replay.again()
        for parameter, grad in replay.grads:  # an eager step between (for traces) replaced them
            parameter.grad = grad
        return replay.loss.clone(), replay.logits

    def _capture(self, x: Tensor, y: Tensor) -> Replay:
        own = x.clone(), y.clone()

        def work() -> Any:
            loss, logits = gradients(self.model, *own, self.optimizer, self.precision)
            grads = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
            return loss, logits, grads

        (loss, logits, grads), again = self.capture(work)
        return Replay(*own, loss, logits, grads, again)
