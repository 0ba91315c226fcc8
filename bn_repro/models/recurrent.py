"""A recurrent network (sec. 5, future work): an image read row by row, its state normalized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bn_repro.norm import Norm

Statistics = Literal["per_step", "shared"]
"""What BN normalizes by in inference: each step's own population, or one of all steps."""
Order = Literal["rows", "permuted"]
"""How an image is read: row by row, or by a fixed permutation of its pixels, as many a step."""
PERMUTATION = 0
"""The seed of that permutation, which is the same in every run."""


@dataclass(frozen=True)
class Shape:
    """What is read, and by how wide a network."""

    steps: int = 28
    pixels: int = 28
    """Of a step."""
    units: int = 100
    classes: int = 10
    order: Order = "rows"
    statistics: Statistics = "per_step"
    dropout: float = 0.0
    """Of the last state."""


class Recurrent(nn.Module):
    """h_t = g(BN_t(W_x x_t + W_h h_{t-1})), h_0 = 0; without BN g(W_x x_t + b + W_h h_{t-1}).

    x_t is row t of the image, t = 1 to ``steps``; a fully connected layer makes the logits of the
    last state: (N, steps * pixels) -> (N, classes). All steps share W_x, W_h, b, gamma and beta.
    With the ``order`` "permuted" the image is permuted first (Le et al. 2015, arXiv 1504.00941), so
    that all steps see similar pixels; read by rows, a digit begins with blank ones. ``statistics``
    says whether every step keeps moving averages of its own, or one norm serves all steps; in
    training a step is normalized by its own mini-batch either way.

    All weights are drawn from a Gaussian of ``init_std``; the default makes the spectral radius of
    W_h about 1 at 100 units. Biases start at zero; networks that differ in their norm alone draw
    the same weights from equal generators. Step t's nonlinearity is the module
    ``nonlinearities.<t - 1>``.

    Raises ValueError for a norm that does not stand before the nonlinearity.
    """

    permutation: Tensor | None

    def __init__(
        self,
        shape: Shape,
        *,
        norm: Norm,
        generator: torch.Generator,
        nonlinearity: Callable[[], nn.Module] = nn.Tanh,
        init_std: float = 0.1,
    ) -> None:
        super().__init__()
        if norm.at != "before":
            raise ValueError(f"Recurrent: its norm stands before the nonlinearity, not {norm.at!r}")
        self.shape, units = shape, shape.units
        self.register_buffer("permutation", permutation_of(shape), persistent=False)
        self.inputs = nn.Linear(shape.pixels, units, bias=norm.bias)
        self.recurrence = nn.Linear(units, units, bias=False)
        own = shape.statistics == "per_step"
        norms = [norm.fc(units) for _ in range(shape.steps if own else 1)]
        for other in norms[1:]:
            share_parameters(norms[0], other)
        self.norms = nn.ModuleList(norms)
        self.nonlinearities = nn.ModuleList(nonlinearity() for _ in range(shape.steps))
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout > 0 else nn.Identity()
        self.classifier = nn.Linear(units, shape.classes)
        layers = self.inputs, self.recurrence, self.classifier
        with torch.no_grad():
            for layer in layers:
                layer.weight.normal_(0.0, init_std, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
        for layer in layers[:2]:
            norm.weights(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, steps * pixels)."""
        if self.permutation is not None:
            x = x[:, self.permutation]
        rows = x.unflatten(1, (self.shape.steps, self.shape.pixels)).transpose(0, 1)
        u = self.inputs(rows).unbind()  # W_x x of all steps at once: (N, units) each
        h = None
        for t, g in enumerate(self.nonlinearities):
            norm = self.norms[t % len(self.norms)]
            h = g(norm(u[t] if h is None else u[t] + self.recurrence(h)))
        return self.classifier(self.dropout(h))

    def sites(self) -> dict[str, nn.Module]:
        """The nonlinearities of the first step, the middle one and the last: ``step<t>``.

        Three steps show what changes along the sequence, at a tenth of the cost of tracing all 28.
        """
        steps = len(self.nonlinearities)
        shown = dict.fromkeys((1, max(1, steps // 2), steps))
        return {f"step{t}": self.nonlinearities[t - 1] for t in shown}


def permutation_of(shape: Shape) -> Tensor | None:
    """The order of the pixels, (steps * pixels,); None for row by row."""
    if shape.order == "rows":
        return None
    drawn = torch.Generator().manual_seed(PERMUTATION)
    return torch.randperm(shape.steps * shape.pixels, generator=drawn)


def share_parameters(of: nn.Module, other: nn.Module) -> None:
    """Give ``other``, a module made as ``of`` was, the very parameters of ``of``."""
    for name, parameter in of.named_parameters():
        inside, _, own = name.rpartition(".")
        setattr(other.get_submodule(inside), own, parameter)
