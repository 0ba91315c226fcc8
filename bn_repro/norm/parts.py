"""BN with one part added or removed, to see what it does (sec. 3 and 3.2).

Each function here is a norm for `model.norm=bn_repro.norm.parts:<name>`.
"""

from __future__ import annotations

from dataclasses import replace

from bn_repro.norm.kinds import Norm, batch


def with_bias(eps: float, momentum: float) -> Norm:
    """BN after a layer that keeps its b; subtracting the mean cancels it."""
    return replace(batch(eps, momentum), bias=True)


def without_gamma_and_beta(eps: float, momentum: float) -> Norm:
    """x_hat alone. The layer before has no b: in front of x_hat it would shift nothing."""
    return batch(eps, momentum, affine=False)
