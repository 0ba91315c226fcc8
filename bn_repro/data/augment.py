"""GoogLeNet's augmentation; what is drawn for an image depends on (seed, epoch, index) alone.

Patches of 8 to 100 % of the area with aspect 3/4 to 4/3, mirrored half of the time (Szegedy 2014,
sec. 6), and photometric distortions: brightness, contrast and colour scaled in random order, then
lighting noise along the principal components of ImageNet's colours (Howard 2013). The random
numbers come from a counter-based hash on the host, so they do not depend on the mini-batch, the
loader's workers, the ranks or the device. They are applied to a whole mini-batch at once.

A *box* is a row of five numbers: left, top, right and bottom as fractions of the width and the
height, and 1 if mirrored. Pillow (``decode.cut``) and ``resample`` both take boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import torch
from torch.nn import functional as F

from bn_repro.data.batches import SHUFFLINGS, Picture

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's channels in [0, 1]: the network sees (x / 255 - MEAN) / STD."""

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
STRENGTH = {"full": 1.0, "reduced": 0.4, "none": 0.0}
"""The strength of the distortions. The paper says "less" (sec. 4.2.1) and not how much; 0.4 is our
choice."""
FACTOR = 0.5
"""At full strength brightness, contrast and colour are each scaled by 0.5 to 1.5 (Howard 2013)."""
LIGHTING = 0.1
"""At full strength, the standard deviation of the lighting noise (Krizhevsky 2012, sec. 4.1)."""
COLOUR_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.array([0.2175, 0.0188, 0.0045])
"""Principal components of ImageNet's colours in [0, 1] (columns), each times its eigenvalue."""
GREY = (0.299, 0.587, 0.114)

Index = np.ndarray | Sequence[int]

_ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
_CONTRAST, _COLOUR = 1, 2
_TRIES = 10
# Tables, not functions: numpy's pow, log and cos may round a number differently in another place of
# another array, and a sample would depend on its mini-batch. Sums, products and roots never do.
_LEVELS = 4096
_LEVEL = (np.arange(_LEVELS) + 0.5) / _LEVELS
_RATIOS = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** _LEVEL
_NORMAL = np.array([NormalDist().inv_cdf(p) for p in _LEVEL.tolist()])
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Preprocessing:
    """How images are shuffled, cropped and distorted on their way to the network.

    Without ``augmentation`` images are whole, or cropped at the centre, and not distorted.
    """

    shuffling: str = "full"
    augmentation: bool = True
    photometric: str = "full"

    def __post_init__(self) -> None:
        for key, choices in (("shuffling", SHUFFLINGS), ("photometric", tuple(STRENGTH))):
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"data.{key}: {value!r} is unknown; one of {', '.join(choices)}")

    @property
    def distorted(self) -> bool:
        """Whether training images get photometric distortions."""
        return self.augmentation and STRENGTH[self.photometric] > 0


def uniforms(seed: int, epoch: int, index: Index, purpose: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 (N, count), ``count`` for each of N indices.

    Each is a hash of (seed, epoch, purpose, index, its place), without state: SplitMix64's
    finalizer, applied to one of these after another (Steele, Lea, Flood 2014).
    """
    state = np.zeros(1, np.uint64)
    for word in (seed, epoch, purpose):
        state = _mixed((state ^ np.uint64(word & 0xFFFFFFFFFFFFFFFF)) + _GOLDEN)
    state = _mixed((state ^ np.asarray(index).astype(np.uint64)) + _GOLDEN)
    bits = _mixed((state[:, None] ^ np.arange(count, dtype=np.uint64)) + _GOLDEN)
    return (bits >> np.uint64(11)) * 2.0**-53


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def patch_boxes(seed: int, epoch: int, index: Index, aspect: float = 1.0) -> np.ndarray:
    """A random patch of each sample, boxes (N, 5), for images with width / height ``aspect``.

    Of ten draws of area (uniform) and aspect ratio (log-uniform), the first that fits inside the
    image, else the largest patch that fits, as in torchvision's RandomResizedCrop; at a uniform
    place.
    """
    return fitted(patch_draws(seed, epoch, index), aspect)


def patch_draws(seed: int, epoch: int, index: Index) -> np.ndarray:
    """The random numbers behind the patch of each sample, (N, 23), for images of any shape."""
    u = uniforms(seed, epoch, index, 0, 3 + 2 * _TRIES)
    area = AREA[0] + (AREA[1] - AREA[0]) * u[:, 3 : 3 + _TRIES]
    return np.concatenate([u[:, :3], area, _look_up(_RATIOS, u[:, 3 + _TRIES :])], axis=1)


def fitted(u: np.ndarray, aspect: float) -> np.ndarray:
    """The boxes (N, 5) that draws (N, 23) become on images with width / height ``aspect``."""
    area, ratio = u[:, 3 : 3 + _TRIES], u[:, 3 + _TRIES :]
    width, height = np.sqrt(area * ratio / aspect), np.sqrt(area / ratio * aspect)
    fits = (width <= 1) & (height <= 1)
    rows, first = np.arange(len(u)), fits.argmax(axis=1)
    narrow = np.clip(aspect, *ASPECT) / aspect  # below 1: the image is wider than any patch
    width = np.where(fits.any(axis=1), width[rows, first], min(narrow, 1.0))
    height = np.where(fits.any(axis=1), height[rows, first], min(1 / narrow, 1.0))
    left, top = u[:, 0] * (1 - width), u[:, 1] * (1 - height)
    return np.stack([left, top, left + width, top + height, u[:, 2] < 0.5], axis=1)


def distortions(seed: int, epoch: int, index: Index, photometric: str = "full") -> np.ndarray:
    """The photometric distortion of each sample, (N, 12), as ``distort`` takes it.

    Three operations in random order, three numbers each: the factor, 1 if it is contrast, 1 if it
    is colour (if neither, it is brightness). Then what lighting noise adds to red, green and blue.
    """
    strength = STRENGTH[photometric]
    u = uniforms(seed, epoch, index, 1, 7)
    order = _look_up(_ORDERS, u[:, 0])
    factor = 1 + strength * FACTOR * (2 * u[:, 1:4] - 1)
    operations = np.stack([factor, order == _CONTRAST, order == _COLOUR], axis=2)
    along = strength * LIGHTING * _look_up(_NORMAL, u[:, 4:7])
    lighting = sum(along[:, k : k + 1] * COLOUR_AXES[:, k] for k in range(3))
    return np.concatenate([operations.reshape(-1, 9), lighting], axis=1)


def _look_up(table: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The entry of ``table`` for each uniform number ``u`` in [0, 1)."""
    return table[(u * len(table)).astype(np.int64)]


def resample(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Resize each image's box: uint8 (N, H, W, 3) to float32 (N, 3, size, size) in [0, 1].

    Bilinear; at a box's edge it uses the image's pixels beyond the box, as Pillow's ``box`` does.
    It does not antialias, so a box should have at most ``size`` pixels a side.
    Measured, 32 images of 64x64 on one core: 0.8 ms; torchvision's image by image 1.3.
    """
    n, height, width, _ = images.shape
    left, top, right, bottom, mirror = boxes[:, :, None].unbind(dim=1)
    step = (torch.arange(size, dtype=boxes.dtype, device=boxes.device) + 0.5) / size
    across = torch.where(mirror > 0, 1 - step, step)
    x = torch.lerp(left, right, across).clamp(0.5 / width, 1 - 0.5 / width)
    y = torch.lerp(top, bottom, step).clamp(0.5 / height, 1 - 0.5 / height)
    grid = torch.stack([g.expand(n, size, size) for g in (x[:, None, :], y[:, :, None])], dim=3)
    return F.grid_sample(pixels(images), grid.mul_(2).sub_(1), align_corners=False)


def distort(x: torch.Tensor, distortion: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast and colour in each sample's own order, then add lighting noise.

    x, float32 (N, 3, H, W) in [0, 1], is overwritten; ``distortion`` (N, 12) is from
    ``distortions``. Brightness blends an image with black, contrast with its mean grey, colour with
    its own grey; each result is clamped to [0, 1]. Torchvision's ``adjust_*`` do the same one image
    at a time (32 of 64x64 on one core: 0.5 ms here, 1.2 there).
    """
    operations = distortion[:, :9].view(-1, 3, 3, 1, 1, 1)
    for k in range(3):
        factor, contrast, colour = operations[:, k].unbind(dim=1)
        red, green, blue = (x[:, c : c + 1] for c in range(3))
        grey = (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
        mean = grey.mean(dim=(2, 3), keepdim=True)
        blend = grey.mul_(colour).add_(contrast * mean)  # one of the two is 0
        torch.lerp(blend, x, factor, out=x).clamp_(0.0, 1.0)
    return x.add_(distortion[:, 9:, None, None])


def normalize(x: torch.Tensor, channels_last: bool = False) -> torch.Tensor:
    """(x - MEAN) / STD; x, float32 (N, 3, H, W) in [0, 1], is overwritten."""
    mean, std = _constants(x.device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return x.sub_(mean).div_(std).contiguous(memory_format=layout)


def pixels(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    # First the bytes, then the type: both at once take 10 times as long.
    return images.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)


def normalized(images: torch.Tensor, channels_last: bool = False) -> torch.Tensor:
    """uint8 (N, H, W, 3) to what the network sees, float32 (N, 3, H, W).

    Equal to ``normalize(pixels(images))`` bit for bit, without leaving the layout of the bytes.
    """
    if not channels_last:
        return normalize(pixels(images))
    n, height, width, _ = images.shape
    mean, std = (c.view(3).repeat(width) for c in _constants(images.device))
    rows = images.to(torch.float32).view(n, height, width * 3)
    return rows.div_(255).sub_(mean).div_(std).view(n, height, width, 3).permute(0, 3, 1, 2)


def normalized_picture(size: int) -> Picture:
    """What :func:`normalize` makes of square images."""
    black, white = (
        tuple((end - mean) / std for mean, std in zip(MEAN, STD, strict=True)) for end in (0, 1)
    )
    return Picture((3, size, size), black, white)


@cache
def _constants(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    # Kept on the device: made anew they would cost a copy, and a wait for it, each mini-batch.
    mean, std = (torch.tensor(c, device=device).view(3, 1, 1) for c in (MEAN, STD))
    return mean, std
