"""SGD as the paper's networks need it, its rate at a step, and Polyak averaging."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bn_repro.config.schema import Config
from bn_repro.training.schedule import learning_rate


def sgd(model: nn.Module, config: Config) -> torch.optim.SGD:
    """SGD with momentum; the L2 weight is on weight matrices and kernels, not biases or BN."""
    decayed = [
        m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)
    ]
    known = set(decayed)
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": config.optimizer.weight_decay},
            {"params": [p for p in model.parameters() if p not in known], "weight_decay": 0.0},
        ],
        lr=config.optimizer.lr,
        momentum=config.optimizer.momentum,
    )


def polyak_average(model: nn.Module, new: float) -> AveragedModel | None:
    """The exponential average of the weights and moving averages of ``model`` from now on."""
    if not new:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - new), use_buffers=True)


def rate(step: int, config: Config) -> float:
    """The learning rate of ``step``; the stairs shrink with a run shorter than the paper's."""
    o, t = config.optimizer, config.train
    every = o.decay_every
    if every is not None:
        every *= t.steps / (t.paper_steps or t.steps) / o.decay_speed
    return learning_rate(step, lr=o.lr, decay_rate=o.decay_rate, decay_every=every)
