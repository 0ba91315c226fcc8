"""A probe of domain adaptation (sec. 5): new distributions of the same images, by old statistics
and by new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from bn_repro.data.altered import alteration
from bn_repro.data.batches import Picture
from bn_repro.norm import BatchNorm, estimate_population_statistics
from bn_repro.norm.population import restored
from bn_repro.training.activations import Row
from bn_repro.training.evaluate import Pairs, evaluate

MINI_BATCHES = 100
"""Of each estimate; 1,000 are no better (the study ``inference_statistics``)."""
STRENGTHS = {
    "unaltered": (0.0,),
    "noisy": (0.25, 0.5, 1.0),
    "contrast": (0.5, 0.25, 0.1),
    "shifted": (1.0, 2.0, 4.0),
    "inverted": (1.0,),
}
"""Of each alteration in ``data.altered``."""


def adaptation(
    model: nn.Module,
    split: Callable[[int], Pairs],
    training: Callable[[int], Iterator[Tensor]],
    *,
    size: int,
    epoch: int,
    picture: Picture,
) -> Iterator[Row]:
    """``loss`` and ``top1`` on ``split`` by ``distribution`` and ``strength``, by ``statistics``:

    - ``original``: those of Algorithm 2 over mini-batches of ``training``, as they are.
    - ``altered``: those of Algorithm 2 over the same mini-batches, altered as the split is. No
      label is used; the weights, gamma and beta stay. Left out for the unaltered.
    - ``none``: the network has no layer of BN, and nothing to estimate anew.

    So the two kinds differ by the images alone, not by how statistics are estimated. They are over
    :data:`MINI_BATCHES`, or as many as an ``epoch`` has; ``split`` is evaluated ``size`` images at
    a time. In float32, whatever ``train.precision``.
    """
    bn = any(isinstance(module, BatchNorm) for module in model.modules())
    count = min(MINI_BATCHES, epoch)
    each = [(name, strength) for name, known in STRENGTHS.items() for strength in known]

    def row(statistics: str, name: str, strength: float) -> Row:
        alter = alteration(picture, name, strength)
        about = {"statistics": statistics, "distribution": name, "strength": strength}
        return {**about, **evaluate(model, ((alter(x), y) for x, y in split(size)))}

    with restored(model):
        if bn:
            estimate_population_statistics(model, training(count))
        yield from (row("original" if bn else "none", *which) for which in each)
        for name, strength in each:
            if bn and name != "unaltered":
                alter = alteration(picture, name, strength)
                estimate_population_statistics(model, map(alter, training(count)))
                yield row("altered", name, strength)
