"""The precision of matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Matrix products in ``precision``; BN computes its statistics in float32 in any case."""
    if precision == "float32":
        return nullcontext()  # a disabled autocast costs section 4.1's step 4 %
    return torch.autocast(device.type, torch.bfloat16)
