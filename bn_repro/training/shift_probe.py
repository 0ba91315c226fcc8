"""A probe of the covariate shift that training itself makes, and of how smooth the loss is.

After Santurkar et al. 2018 (arXiv 1805.11604): definition 2.1 takes as a layer's internal covariate
shift how much its gradient changes when the layers before it are updated; section 3 asks how much
the loss and the gradient change along a step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bn_repro.training.activations import Row, sites_of

SIZES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The sizes of a step, in units of the learning rate; 0 is where it starts."""
IMAGES = 100
"""The images of the probe's mini-batch."""


def shift(model: nn.Module, batch: tuple[Tensor, Tensor], rate: float) -> Iterator[Row]:
    """How far gradients turn, of the mean cross-entropy of ``batch`` in training mode.

    All steps are plain SGD's, at the learning ``rate``, of a copy in float64 without dropout;
    random norms draw the same numbers each time, and an auxiliary classifier takes no part.

    - For every layer (``site``) but the first: the gradient of its weights before, and after all
      layers below took their step, all else as it was; the ``cosine`` of the two, and the norm of
      their difference over that of the first (``distance``). An Inception module is one layer.
    - For a step of all layers (``site`` "all"), by its ``size`` in rates: the ``loss``
      there, and the ``distance`` of the gradient of all parameters from that at the start.
    """
    copied = copy.deepcopy(model).double().eval()
    for nonlinearity in sites_of(copied, None).values():
        unit = next(m for m in copied.modules() if nonlinearity in m.children())
        unit.get_submodule("norm").train()
    x, labels = batch[0][:IMAGES].double(), batch[1][:IMAGES]
    layers = _layers(copied)
    everything = [p for layer in layers.values() for p in layer.values()]
    start = [p.detach().clone() for p in everything]
    _, first = gradients(copied, x, labels, everything)
    slopes = dict(zip(everything, first, strict=True))
    for number, (site, layer) in enumerate(layers.items()):
        weights = [p for name, p in layer.items() if p.dim() > 1 and ".norm." not in name]
        if number:
            before = torch.cat([slopes[p].flatten() for p in weights])
            _, after = gradients(copied, x, labels, weights)
            yield {"site": site, "unit": None, **_turn(before, _flat(after))}
        _move(list(layer.values()), [slopes[p] for p in layer.values()], rate)
    origin = _flat(first)
    for size in SIZES:
        with torch.no_grad():
            for p, value in zip(everything, start, strict=True):
                p.copy_(value)
        _move(everything, first, size * rate)
        loss, there = gradients(copied, x, labels, everything)
        distance = _turn(origin, _flat(there))["distance"]
        yield {"site": "all", "unit": None, "size": size, "loss": loss, "distance": distance}


def gradients(
    model: nn.Module, x: Tensor, labels: Tensor, of: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The loss and its gradients; every call draws the same random numbers, and leaves none."""
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        loss = nn.functional.cross_entropy(model(x), labels)
    found = torch.autograd.grad(loss, of, allow_unused=True)
    return loss.item(), [
        torch.zeros_like(p) if g is None else g for p, g in zip(of, found, strict=True)
    ]


def _layers(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The parameters of every layer by name, first layer first."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, p in model.named_parameters():
        outer, _, inner = name.partition(".")
        layer = outer if outer in ("classifier", "auxiliary") else inner.partition(".")[0]
        found.setdefault(layer, {})[name] = p
    found.pop("auxiliary", None)
    return found


@torch.no_grad()
def _move(parameters: Sequence[Tensor], slopes: Sequence[Tensor], rate: float) -> None:
    for p, slope in zip(parameters, slopes, strict=True):
        p -= rate * slope


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def _turn(before: Tensor, after: Tensor) -> dict[str, float]:
    """NaN where a gradient is 0."""
    return {
        "cosine": (before @ after / (before.norm() * after.norm())).item(),
        "distance": ((after - before).norm() / before.norm()).item(),
    }
