"""Weight normalization, beside its paper (Salimans & Kingma 2016, arXiv 1602.07868)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization


class WeightNorm(nn.Module):
    """Equation 2, w = g v / ||v||, for each row w of a matrix, or each filter of a convolution."""

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return g * v / length(v)

    def right_inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """g and v that give `w`: its length, and itself."""
        return length(w), w


def length(v: Tensor) -> Tensor:
    """The Euclidean norm of each `v[k]`, in the dimensions of `v`."""
    return (v**2).sum(tuple(range(1, v.dim())), keepdim=True).sqrt()


def weight_norm(layer: nn.Module) -> None:
    """Train g and v in place of the weights w of `layer`, which computes the same as before.

    Its state_dict is then that of `torch.nn.utils.parametrizations.weight_norm(layer)`. g starts as
    the length of the weights as they were drawn; the paper's initialization from a first mini-batch
    (sec. 3) would make it another network at the start than those that it is compared with.
    """
    register_parametrization(layer, "weight", WeightNorm())
