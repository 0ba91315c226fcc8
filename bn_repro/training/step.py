"""How a mini-batch becomes an update: eagerly, compiled, as a CUDA graph replayed, or by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.training.activations import ActivationRecorder, record_activations
from bn_repro.training.by_hand import ByHand
from bn_repro.training.sgd import Optimizer

AUXILIARY_WEIGHT = 0.3
"""The weight of the auxiliary classifier's loss (Szegedy 2014, sec. 5)."""


def gradients(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: Optimizer,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """Forward and backward of a mini-batch x (B, ...), y (B,): mean cross-entropy and logits."""
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
    """Matrix products in ``precision``; BN computes its statistics in float32 in any case."""
    if precision == "float32":
        return nullcontext()  # a disabled autocast costs section 4.1's step 4 %
    return torch.autocast(device.type, torch.bfloat16)


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
        self,
        model: nn.Module,
        optimizer: Optimizer,
        precision: str,
        capture: Capture = cuda_graph,
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


class Engine(Protocol):
    """A step on a mini-batch: gradients, and the update by them."""

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits; the parameters are updated."""
        ...

    def traced(
        self, sites: Mapping[str, nn.Module], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, ActivationRecorder]:
        """Also the inputs of the ``sites``, modules of the model."""
        ...


ENGINES: dict[str, Callable[[Any, Optimizer, str], Engine]] = {
    "eager": Eager,
    "graphed": Graphed,
    "compiled": Compiled,
    "by_hand": ByHand,
}
