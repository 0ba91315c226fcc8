"""Loss and accuracies of a network over every example of a split, once each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from bn_repro.training.ranks import total
from bn_repro.training.world import World

TOP5_FROM = 20
"""With fewer classes than this, top-5 accuracy says little and is left out."""

Pairs = Iterable[tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def scores(
    model: nn.Module, batches: Pairs, several: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Scores (N, classes) of each mini-batch, float32, and its labels (N,).

    The softmax of the scores is the class probabilities. For x (N, ...) the scores are the logits;
    for ``several`` crops an example, x (N, K, ...), the logarithm of the mean of the probabilities
    over the K crops (sec. 4.2.3). The model runs in evaluation mode and gets its mode back.
    """
    was_training = model.training
    model.eval()
    try:
        for x, y in batches:
            yield (over_crops(model, x) if several else model(x).float()), y
    finally:
        model.train(was_training)


def over_crops(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """log of the class probabilities of x (N, K, ...), averaged over K: (N, classes)."""
    n, k = x.shape[:2]
    each = F.log_softmax(model(x.flatten(0, 1)).float(), dim=1).view(n, k, -1)
    return each.logsumexp(dim=1) - math.log(k)


def accuracies(
    scored: Pairs, world: World | None = None, right: list[torch.Tensor] | None = None
) -> dict[str, float]:
    """Mean cross-entropy ``loss``, ``top1`` and (from 20 classes) ``top5``, as fractions.

    ``scored`` yields scores (N, classes) and labels (N,); under several ranks each brings its own
    part and all get the result. To ``right``, where it is given, is added for each mini-batch which
    of this rank's examples are right, bool (N,). Raises ValueError where there are no examples.
    """
    sums, classes = None, 0
    for logits, y in scored:
        classes = logits.shape[1]
        exact = torch.float32 if logits.device.type == "mps" else torch.float64  # MPS has none
        if sums is None:
            sums = torch.zeros(4, dtype=exact, device=logits.device)
        found = logits.topk(min(5, classes), dim=1).indices == y[:, None]
        if right is not None:
            right.append(found[:, 0])
        sums += torch.stack(
            [
                F.cross_entropy(logits, y, reduction="sum").to(exact),
                found[:, 0].sum().to(exact),
                found.sum().to(exact),
                sums.new_full((), len(y)),  # made there: a copy from here would be waited for
            ]
        )
    if sums is None:
        raise ValueError("evaluation: the split has no examples")
    loss, top1, top5, count = total(sums, world or World()).tolist()
    shares = {"top1": top1 / count} | ({"top5": top5 / count} if classes >= TOP5_FROM else {})
    return {"loss": loss / count, **shares}


def evaluate(
    model: nn.Module,
    batches: Pairs,
    world: World | None = None,
    right: list[torch.Tensor] | None = None,
) -> dict[str, float]:
    """:func:`accuracies` of ``model`` on ``batches`` of x (N, ...) and labels (N,)."""
    return accuracies(scores(model, batches), world, right)
