"""How good a network is on a split: loss and accuracies over every example once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from bn_repro.distributed import World, total

TOP5_FROM = 20
"""With fewer classes the top-5 accuracy says nothing and is left out."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    world: World | None = None,
) -> dict[str, float]:
    """Mean cross-entropy ``loss``, ``top1`` and (from 20 classes) ``top5``, as fractions.

    ``batches`` yields x (N, ...) and labels (N,); under several ranks each brings its own part and
    all get the result. The model is left in the mode it came in.
    """
    was_training = model.training
    model.eval()
    sums = None
    for x, y in batches:
        logits = model(x).float()
        if sums is None:
            sums = torch.zeros(4, dtype=torch.float64, device=logits.device)
        found = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
        sums += torch.stack(
            [
                F.cross_entropy(logits, y, reduction="sum").double(),
                found[:, 0].sum().double(),
                found.sum().double(),
                torch.tensor(len(y), dtype=torch.float64, device=logits.device),
            ]
        )
        classes = logits.shape[1]
    model.train(was_training)
    if sums is None:
        raise ValueError("evaluation: the split has no examples")
    loss, top1, top5, count = total(sums, world or World()).tolist()
    accuracies = {"top1": top1 / count} | ({"top5": top5 / count} if classes >= TOP5_FROM else {})
    return {"loss": loss / count, **accuracies}
