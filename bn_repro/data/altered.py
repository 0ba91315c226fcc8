"""New distributions of the same images (sec. 5, domain adaptation): changes of their pixels.

Pixels p run from black, 0, to white, 1; ``Data.picture`` says how a network sees them.
The whole picture is altered: where a digit is padded, the padding too, since it is background.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from bn_repro.data.batches import Picture

NOISE_SEED = 2_015
"""Seeds the noise: each pass over the same mini-batches has the same."""


def noisy(p: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """p + std * Gaussian noise, cut to [0, 1]; a pixel has the same noise in all channels."""
    noise = torch.randn(len(p), 1, *p.shape[2:], generator=generator).to(p.device)
    return (p + std * noise).clamp_(0, 1)


def shifted(p: Tensor, pixels: int) -> Tensor:
    """To the right; black comes in at the left."""
    return F.pad(p, (pixels, 0))[..., : p.shape[3]]


ALTERATIONS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "unaltered": lambda p, strength, generator: p,
    "noisy": noisy,
    "contrast": lambda p, factor, generator: 0.5 + factor * (p - 0.5),  # 1/2 is mid-grey
    "shifted": lambda p, strength, generator: shifted(p, int(strength)),
    "inverted": lambda p, strength, generator: 1 - p,
}
"""By name: functions of the pixels p (B, C, H, W), the strength and a generator."""


def alteration(picture: Picture, name: str, strength: float = 0.0) -> Callable[[Tensor], Tensor]:
    """What alters mini-batches x (B, *shape) of a data set, one after another, by ``name``.

    The names are those of :data:`ALTERATIONS`. ``strength`` is the noise's standard deviation, the
    contrast's factor, or a number of pixels; the others have none. Each call here begins the noise
    anew. An altered mini-batch has the shape and the layout of x, and x stays as it is.
    """
    generator, alter = torch.Generator().manual_seed(NOISE_SEED), ALTERATIONS[name]

    def altered(x: Tensor) -> Tensor:
        black, white = (x.new_tensor(p).view(1, -1, 1, 1) for p in (picture.black, picture.white))
        pixels = (x.view(-1, *picture.shape) - black) / (white - black)
        found = black + (white - black) * alter(pixels, strength, generator)
        return torch.empty_like(x).copy_(found.reshape(x.shape))

    return altered
