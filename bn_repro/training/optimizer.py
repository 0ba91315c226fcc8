"""SGD, at once or delayed, its learning rate at a step, and Polyak averaging of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bn_repro.config.schema import Config
from bn_repro.training.schedule import learning_rate


def sgd(model: nn.Module, config: Config) -> torch.optim.SGD:
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
    return torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum)


class DelayedSGD(torch.optim.SGD):
    """SGD whose step t applies the gradients of step t - ``delay``, and before that nothing.

    So do the workers of asynchronous training, ``delay`` of which update the weights between one's
    reading them and its own update. Rate, momentum and weight decay are those of the step that
    applies. The gradients that wait are part of the ``state_dict``.
    """

    def __init__(self, params: Any, *, delay: int, lr: float, momentum: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self.delay = delay

    def step(self, closure: None = None) -> None:
        """Keep the parameters' ``grad``, in whose place comes the one that is due, or None."""
        for p in (p for group in self.param_groups for p in group["params"]):
            waiting = self.state[p].setdefault("waiting", [])
            waiting.append(None if p.grad is None else p.grad.clone())  # a CUDA graph reuses it
            p.grad = waiting.pop(0) if len(waiting) > self.delay else None
        super().step(closure)


def polyak_average(model: nn.Module, share: float) -> AveragedModel | None:
    """An exponential average of the weights and moving averages of ``model``, from now on.

    Each step's values enter it with this ``share``; None for 0.
    """
    if not share:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - share), use_buffers=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use ``rate`` from the next update on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate_at(step: int, config: Config) -> float:
    """The learning rate of ``step``.

    A run shorter than the paper's (``train.paper_steps``) decays in proportionally shorter stairs.
    """
    o, t = config.optimizer, config.train
    every = o.decay_every
    if every is not None:
        every *= t.steps / (t.paper_steps or t.steps) / o.decay_speed
    return learning_rate(step, lr=o.lr, decay_rate=o.decay_rate, decay_every=every)
