"""The engines by name; each makes a mini-batch an update of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from bn_repro.training.activations import ActivationRecorder
from bn_repro.training.by_hand import ByHand
from bn_repro.training.eager import Compiled, Eager
from bn_repro.training.graphed import Graphed
from bn_repro.training.sgd import Optimizer


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
