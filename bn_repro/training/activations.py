"""How the input of a nonlinearity is distributed, as numbers (Figures 1b and 1c).

The loop wraps single steps in :func:`record_activations`; otherwise the network has no hook.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from bn_repro.records.histograms import COUNTS, HIGH, WIDTH

PERCENTILES = (0.15, 0.50, 0.85)
NAMES = ("p15", "p50", "p85")
"""What a row calls them."""
UNIT = 0
"""The "typical activation": the first unit, chosen before any run."""
SATURATED = 4.0
"""|x| beyond which a sigmoid's slope is under 7.1 % of its greatest."""
SATURATED_TANH = SATURATED / 2
"""The same for tanh(x) = 2 sigmoid(2x) - 1."""
POOLED = 1 << 16
"""A layer's percentiles and counts are those of at most this many of its values, evenly spaced."""

Row = dict[str, float | int | str | None]


@contextmanager
def record_activations(sites: Mapping[str, nn.Module]) -> Iterator[ActivationRecorder]:
    """Record the inputs of ``sites`` during one forward and backward pass."""
    recorder = ActivationRecorder()
    with ExitStack() as hooks:
        for name, module in sites.items():
            hooks.enter_context(module.register_forward_pre_hook(recorder.hook(name)))
        yield recorder


class ActivationRecorder:
    """The recorded inputs of each site, and their description as :meth:`rows`."""

    def __init__(self) -> None:
        self.inputs: dict[str, torch.Tensor] = {}
        self.saturated: dict[str, float] = {}

    def hook(self, name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        """A forward pre-hook that keeps the input of site ``name``, and later its gradient."""

        def keep(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            x = arguments[0]
            if x.requires_grad:
                x.retain_grad()
            self.inputs[name] = x
            self.saturated[name] = SATURATED_TANH if isinstance(module, nn.Tanh) else SATURATED

        return keep

    def add(self, name: str, module: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take the input of site ``name``, and its gradient, from a step that ran no hook."""
        self.hook(name)(module, (x,))
        x.grad = gradient

    @torch.no_grad()
    def rows(self, step: int, by_unit: Container[str] = ()) -> list[Row]:
        """Two rows a site: one unit (:data:`UNIT`; of a convolution a feature map), and the layer.

        Of the sites ``by_unit`` all units have a row. Each has ``p15, p50, p85``, ``mean``, ``std``
        (of the mini-batch, biased), ``saturated`` (the fraction with |x| > 4; for a tanh, > 2) and
        ``grad_norm`` (the norm of the loss's gradient with respect to these inputs).
        """
        rows: list[Row] = []
        for site, x in self.inputs.items():
            gradient = torch.zeros_like(x) if x.grad is None else x.grad
            units = range(x.shape[1]) if site in by_unit else (UNIT,)
            parts = [(unit, x[:, unit], gradient[:, unit]) for unit in units]
            for unit, inputs, slopes in [*parts, (None, x, gradient)]:
                description = describe(inputs, slopes, self.saturated[site])
                rows.append({"step": step, "site": site, "unit": unit, **description})
        return rows

    @torch.no_grad()
    def histograms(self, step: int) -> list[dict[str, Any]]:
        """A row a site: the layer's ``counts`` in the bins of :mod:`~bn_repro.records.histograms`.

        They count the values that the percentiles of :meth:`rows` are of.
        """
        found = {site: histogram(x) for site, x in self.inputs.items()}
        return [{"step": step, "site": site, "counts": c} for site, c in found.items()]


def describe(x: torch.Tensor, gradient: torch.Tensor, saturated: float) -> dict[str, float]:
    x = x.detach().float().flatten()
    percentiles = torch.quantile(sample(x), x.new_tensor(PERCENTILES)).tolist()
    return {
        **dict(zip(NAMES, percentiles, strict=True)),
        "mean": x.mean().item(),
        "std": x.std(correction=0).item(),
        "saturated": (x.abs() > saturated).float().mean().item(),
        "grad_norm": gradient.float().norm().item(),
    }


def sample(x: torch.Tensor) -> torch.Tensor:
    """At most :data:`POOLED` of the values of a flat ``x``, evenly spaced."""
    stride = -(-x.numel() // POOLED)
    while any(stride % p == 0 for p in (2, 3, 5, 7)) and stride > 1:
        stride += 1  # else the sample would be a few columns of each feature map
    return x[::stride]


def histogram(x: torch.Tensor) -> list[int]:
    """How many values of a sample of ``x`` lie in each bin; what is no number is not counted."""
    x = sample(x.detach().float().flatten())
    beyond = HIGH / WIDTH
    bins = (x / WIDTH).floor_().clamp_(-beyond - 1, beyond).nan_to_num_(nan=beyond + 1)
    return torch.bincount((bins + beyond + 1).long(), minlength=COUNTS + 1)[:COUNTS].tolist()


def sites_of(model: nn.Module, names: list[str] | None) -> dict[str, nn.Module]:
    """The nonlinearities of ``model`` to trace: those of these ``names``, or all for None.

    ValueError for a name that the model does not have.
    """
    sites: dict[str, nn.Module] = model.sites()  # pyright: ignore[reportCallIssue]
    unknown = set(names or []) - set(sites)
    if unknown:
        raise ValueError(
            f"train.trace_sites: no {', '.join(sorted(unknown))}; "
            f"the network has {', '.join(sites)}"
        )
    return sites if names is None else {name: sites[name] for name in names}
