"""SGD, at once or delayed, and Polyak averaging of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from bn_repro.config.schema import Config
from bn_repro.training.sgd import SGD, Optimizer


def sgd(model: nn.Module, config: Config) -> SGD | DelayedSGD:
    """SGD with momentum; weight decay acts on weight matrices and kernels, not on biases or BN.

    With weight normalization, w = g v / |v|, it acts on g, which is the length of w.
    """
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    decayed = [
        parameter
        for m in model.modules()
        if isinstance(m, layers)
        for name, parameter in m.named_parameters()
        if name in ("weight", "parametrizations.weight.original0")
    ]
    others = set(model.parameters()) - set(decayed)
    groups = [
        {"params": decayed, "weight_decay": config.optimizer.weight_decay},
        {"params": [p for p in model.parameters() if p in others], "weight_decay": 0.0},
    ]
    o = config.optimizer
    if o.delay:
        return DelayedSGD(groups, delay=o.delay, lr=o.lr, momentum=o.momentum)
    return SGD(groups, lr=o.lr, momentum=o.momentum)


class DelayedSGD(torch.optim.SGD):
    """SGD whose step t applies the gradients of step t - ``delay``, and before that nothing.

    In asynchronous training, too, others update the weights ``delay`` times between a worker's
    reading them and its own update. Rate, momentum and weight decay are those of the step that
    applies. The gradients that wait are part of the ``state_dict``.
    """

    def __init__(self, params: Any, *, delay: int, lr: float, momentum: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self.delay = delay

    def step(self, closure: None = None) -> None:
        """Queue each parameter's ``grad``, and apply the one that is due, if any."""
        for p in (p for group in self.param_groups for p in group["params"]):
            waiting = self.state[p].setdefault("waiting", [])
            waiting.append(None if p.grad is None else p.grad.clone())  # a CUDA graph reuses it
            p.grad = waiting.pop(0) if len(waiting) > self.delay else None
        super().step(closure)


class PolyakAverage:
    """An exponential average of the weights and moving averages of a network, from now on.

    Each step's values enter it with this ``share``, those of the first step whole. ``module`` is
    the averaged network; its counters, which no network reads, stay as they are. A GPU gets a few
    launches a step, and is not waited for.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self.module, self.share, self.steps = copy.deepcopy(model), share, 0
        self._averages, self._values = _floating(self.module), _floating(model)

    def update(self) -> None:
        """Take the network's present values in."""
        share = self.share if self.steps else 1.0
        torch._foreach_lerp_(self._averages, self._values, share)  # pyright: ignore
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "module": self.module.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.steps = saved["steps"]
        self.module.load_state_dict(saved["module"])


def _floating(model: nn.Module) -> list[torch.Tensor]:
    """Each tensor once, also where modules share it, as the steps of a recurrent network do."""
    found = {v.data_ptr(): v for v in model.state_dict().values() if v.is_floating_point()}
    return list(found.values())


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use ``rate`` from the next update on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
