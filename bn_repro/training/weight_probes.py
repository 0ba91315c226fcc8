"""Probes of what section 3.3 says of the scale of weights and of a layer's Jacobian."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bn_repro.training.activations import NAMES, PERCENTILES, Row, sites_of

SCALES = tuple(10.0**k for k in range(-3, 4))
"""The factors a of sec. 3.3, BN((aW)u)."""
IMAGES = 100
"""The images of the probe's mini-batch."""
JACOBIANS = 10
"""At how many images a Jacobian is computed."""
SMALLEST = 1e-12
"""A smaller singular value counts as this: a saturated unit's is 0 in float64."""


@dataclass
class Layer:
    """y = norm(Wu), z = g(y): its parts, and what a mini-batch left in it."""

    linear: nn.Linear | nn.Conv2d
    norm: nn.Module
    nonlinearity: nn.Module
    u: Tensor
    x: Tensor
    y: Tensor
    dy: Tensor
    """dl/dy of the mean cross-entropy."""


def scale(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[Row]:
    """Of every layer, by the factor ``scale`` (a): how far norm((aW)u) departs from norm(Wu).

    A layer's u and dl/dy are those of the images in training mode, in float64. ``output``,
    ``input_gradient`` and ``weight_gradient`` are the norms of the departures of y, of dl/du and of
    a dl/d(aW), over the norms at a = 1; sec. 3.3 says that all are 0. ``gradient`` is the norm of
    dl/d(aW) over that at a = 1, said to be 1 / a. ``epsilon`` is the norm's, and 0; of a norm that
    is not of this project, the norm's alone.
    """
    for site, layer in _passed(model, batch).items():
        for epsilon in _epsilons(layer.norm):
            y1, du1, dw1 = _scaled(layer, 1.0, epsilon)
            for a in SCALES:
                y, du, dw = _scaled(layer, a, epsilon)
                yield {
                    "site": site,
                    "epsilon": epsilon,
                    "scale": a,
                    "output": _departure(y, y1),
                    "input_gradient": _departure(du, du1),
                    "weight_gradient": _departure(a * dw, dw1),
                    "gradient": (dw.norm() / dw1.norm()).item(),
                }


def weights(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[Row]:
    """Of every layer's weights: their ``norm``, and the ``gradient``'s, in training mode.

    And the norm of the ``bias`` where the layer has one, as before BN it has not.
    """
    for site, layer in _passed(model, batch).items():
        (_, _, dw), bias = _scaled(layer, 1.0, None), layer.linear.bias
        row = {
            "site": site,
            "norm": layer.linear.weight.norm().item(),
            "gradient": dw.norm().item(),
        }
        yield row if bias is None else row | {"bias": bias.norm().item()}


def jacobians(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[Row]:
    """Of each fully connected layer after another: the singular values of its Jacobian.

    With y the input of a layer's nonlinearity, and primes for the next layer, at one image, the
    statistics of the mini-batch taken as constants (``normalized`` 0):

        dy'/dy = diag(std(y') / std(x')) W' diag(g'(y)), where the first factor is 1 without BN.

    Section 3.3's J is between inputs with unit variances (``normalized`` 1), also without BN:
    J = diag(1 / std(y')) dy'/dy diag(std(y)). Over all singular values at :data:`JACOBIANS` images:
    ``p15, p50, p85``; ``distance``, the mean of |ln s|; ``within``, the share from 1/2 to 2; all
    NaN where the Jacobian is not finite. The ``site`` is the next layer's.
    """
    layers = _passed(model, batch)
    for below, (site, above) in zip(layers.values(), list(layers.items())[1:], strict=False):
        if not (isinstance(below.linear, nn.Linear) and isinstance(above.linear, nn.Linear)):
            continue
        y = below.y[:JACOBIANS].clone().requires_grad_()
        (slope,) = torch.autograd.grad(below.nonlinearity(y).sum(), y)
        gain = _std(above.y) / _std(above.x)
        own = gain[:, None] * above.linear.weight.detach() * slope[:, None, :]
        between = own / _std(above.y)[:, None] * _std(below.y)
        for normalized, jacobian in ((0, own), (1, between)):
            yield {"site": site, "normalized": normalized, **_singular_values(jacobian)}


def _std(x: Tensor) -> Tensor:
    return x.std(0, correction=0)


def _singular_values(jacobian: Tensor) -> dict[str, float]:
    if not jacobian.isfinite().all():  # a run that is about to diverge
        return dict.fromkeys((*NAMES, "distance", "within"), math.nan)
    log_s = torch.linalg.svdvals(jacobian).flatten().clamp(min=SMALLEST).log()
    percentiles = torch.quantile(log_s, log_s.new_tensor(PERCENTILES)).exp().tolist()
    return {
        **dict(zip(NAMES, percentiles, strict=True)),
        "distance": log_s.abs().mean().item(),
        "within": (log_s.abs() <= math.log(2)).double().mean().item(),
    }


def _passed(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Layer]:
    """The layers by site, after the images went forward and backward through a copy in float64.

    Only the norms are in training mode: dropout is off, and Inception runs its units one by one.
    """
    copied = copy.deepcopy(model).double().eval()
    seen: dict[str, dict[str, Tensor]] = {}
    units = {site: _unit_of(copied, g) for site, g in sites_of(copied, None).items()}
    for site, unit in units.items():
        unit.get_submodule("norm").train()
        _watch(unit, seen.setdefault(site, {}))
    x, labels = batch[0][:IMAGES].double(), batch[1][:IMAGES]
    nn.functional.cross_entropy(copied(x), labels).backward()
    return {
        site: Layer(
            linear=unit.get_submodule("linear"),  # pyright: ignore[reportArgumentType]
            norm=unit.get_submodule("norm"),
            nonlinearity=unit.get_submodule("nonlinearity"),
            **{name: seen[site][name].detach() for name in "uxy"},
            dy=seen[site]["y"].grad,  # pyright: ignore[reportArgumentType]
        )
        for site, unit in units.items()
        if "y" in seen[site]  # an auxiliary classifier takes part in training mode alone
    }


def _unit_of(model: nn.Module, nonlinearity: nn.Module) -> nn.Module:
    """The module that has this nonlinearity, and its linear and norm beside it."""
    return next(m for m in model.modules() if nonlinearity in m.children())


def _watch(unit: nn.Module, kept: dict[str, Tensor]) -> None:
    """Keep u, x and y of the next forward pass, and the gradient at y."""

    def linear(_: nn.Module, arguments: tuple[Tensor, ...], x: Tensor) -> None:
        kept.update(u=arguments[0], x=x)

    def nonlinearity(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        kept["y"] = arguments[0]
        kept["y"].retain_grad()

    unit.get_submodule("linear").register_forward_hook(linear)
    unit.get_submodule("nonlinearity").register_forward_pre_hook(nonlinearity)


def _scaled(layer: Layer, a: float, epsilon: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """y, dl/du and dl/d(aW) with weights aW, of dl/dy as it is; ``epsilon`` None: the norm's."""
    norm, linear = copy.deepcopy(layer.norm), layer.linear
    for module in _with_epsilon(norm):
        module.eps = module.eps if epsilon is None else epsilon
    u = layer.u.clone().requires_grad_()
    aw = (a * linear.weight.detach()).requires_grad_()  # of weight normalization, what it made
    if isinstance(linear, nn.Linear):
        x = nn.functional.linear(u, aw, linear.bias)
    else:
        x = linear._conv_forward(u, aw, linear.bias)
    y = norm(x)
    du, dw = torch.autograd.grad(y, (u, aw), layer.dy)
    return y.detach(), du, dw


def _with_epsilon(norm: nn.Module) -> list[Any]:
    """The modules of a norm that have an epsilon."""
    return [module for module in norm.modules() if isinstance(getattr(module, "eps", None), float)]


def _epsilons(norm: nn.Module) -> list[float]:
    own = {module.eps for module in _with_epsilon(norm)}
    ours = all(type(m).__module__.startswith("bn_repro.") for m in _with_epsilon(norm))
    return sorted(own | {0.0} if ours else own)  # others may not take 0


def _departure(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
