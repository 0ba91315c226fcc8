"""Figure 5 of the paper: the rows of Inception, and the options of a network made of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple


class Row(NamedTuple):
    """One row of Figure 5: the channels of a module's branches."""

    name: str
    stride: int
    one: int | None  # 1x1; None: no such branch
    three: tuple[int, int]  # 1x1 reduction, then 3x3
    double: tuple[int, int]  # 1x1 reduction, then 3x3 and 3x3, both with the second number
    pool: str
    projection: int | None  # 1x1 after the pool; None: the pooled input passes through

    def scaled(self, width: float) -> Row:
        return self._replace(
            one=self.one and scaled(self.one, width),
            three=(scaled(self.three[0], width), scaled(self.three[1], width)),
            double=(scaled(self.double[0], width), scaled(self.double[1], width)),
            projection=self.projection and scaled(self.projection, width),
        )


# The figure prints 128 after the pools of 4c and 4d, which contradicts the output channels that it
# prints for 4c, 4d and 4e; 96 gives them. `Shape.pool_projection` chooses.
FIGURE_5 = (
    #    name  / 1x1   3x3         double 3x3  pool        output channels
    Row("3a", 1, 64, (64, 64), (64, 96), "avg", 32),  # 256
    Row("3b", 1, 64, (64, 96), (64, 96), "avg", 64),  # 320
    Row("3c", 2, None, (128, 160), (64, 96), "max", None),  # 576
    Row("4a", 1, 224, (64, 96), (96, 128), "avg", 128),  # 576
    Row("4b", 1, 192, (96, 128), (96, 128), "avg", 128),  # 576
    Row("4c", 1, 160, (128, 160), (128, 160), "avg", 96),  # 576
    Row("4d", 1, 96, (128, 192), (160, 192), "avg", 96),  # 576
    Row("4e", 2, None, (128, 192), (192, 256), "max", None),  # 1024
    Row("5a", 1, 352, (192, 320), (160, 224), "avg", 128),  # 1024
    Row("5b", 1, 352, (192, 320), (192, 224), "max", 128),  # 1024
)
STEM_CHANNELS = (64, 64, 192)  # conv1 7x7/2, conv2_reduce 1x1, conv2 3x3
DEPTH_MULTIPLIER = 8  # of the separable conv1; the width factor leaves it alone
AUXILIARY_AFTER = "4d"
AUXILIARY_CHANNELS = (128, 768)  # 768, where GoogLeNet had 1024, gives the text's 13.6e6 parameters


@dataclass(frozen=True)
class Shape:
    """The options of a network made of Figure 5's rows.

    Args:
        classes: number of logits.
        image_size: side of the images in pixels, 32 or more. It matters to `auxiliary` and
            `per_activation_modules`; other networks take images of any size.
        width: factor on all numbers of channels, which are then rounded to multiples of 8.
        modules: the names of Figure 5's rows that the network has, in its order; None: all. Each
            takes the channels of the one before it; maps shrink only at rows of stride 2.
        lrn: local response normalization at GoogLeNet's two places in the stem.
        pool_projection: channels after the pools of 4c and 4d: 96 (corrected) or 128 (as printed).
        separable_stem: conv1 as a depthwise 7x7/2, bare, and a 1x1 unit.
        auxiliary: an auxiliary classifier on the output of 4d.
        per_activation_modules: in so many modules, from the last backwards, the norm is per
            activation (sec. 4.2.3's "non-convolutional BN in the last hidden layers").
        dropout: probability of dropping a feature before the classifiers.
        ceil_pools: pools of stride 2 as Caffe has them, in ceil mode and without padding, for
            images of multiples of 32 pixels; False: padded by 1, as the strided 3x3 convolutions.
            (The authors' later release does the same, but a pixel further on at even sides.)
        padded_averages: averages count the zeros around the map, as Caffe's do; False: only what is
            inside, as in the authors' later release. Weights of BN-Inception that come from Caffe
            want both switches and `pool_projection=128`.

    Raises:
        ValueError: a value outside of what is said here.
    """

    classes: int = 1000
    image_size: int = 224
    width: float = 1.0
    modules: tuple[str, ...] | None = None
    lrn: bool = False
    pool_projection: int = 96
    separable_stem: bool = False
    auxiliary: bool = False
    per_activation_modules: int = 0
    dropout: float = 0.0
    ceil_pools: bool = False
    padded_averages: bool = False

    def __post_init__(self) -> None:
        known = [row.name for row in FIGURE_5]
        own = known if self.modules is None else list(self.modules)
        in_order = own and own == [name for name in known if name in own]
        require(self, "modules", bool(in_order), f"names out of {', '.join(known)}, in this order")
        auxiliary = not self.auxiliary or AUXILIARY_AFTER in own
        require(self, "auxiliary", auxiliary, f"False without {AUXILIARY_AFTER}, where it stands")
        require(self, "classes", self.classes >= 1, "1 or more")
        require(self, "image_size", self.image_size >= 32, "32 pixels or more")  # 5 strides of 2
        require(self, "width", 0 < self.width < inf, "a factor above 0")
        printed = self.pool_projection in (96, 128)
        require(self, "pool_projection", printed, "96 (corrected) or 128 (printed)")
        last = 0 <= self.per_activation_modules <= len(own)
        require(self, "per_activation_modules", last, f"0 to {len(own)} modules")
        require(self, "dropout", 0 <= self.dropout < 1, "a probability below 1")
        even = not self.ceil_pools or self.image_size % 32 == 0
        require(self, "ceil_pools", even, "False for images that are no multiple of 32 pixels")

    def rows(self) -> list[Row]:
        """The rows of Figure 5 that this network has, with its channels."""
        ours = {"4c": self.pool_projection, "4d": self.pool_projection}
        rows = (row._replace(projection=ours.get(row.name, row.projection)) for row in FIGURE_5)
        own = self.modules
        return [row.scaled(self.width) for row in rows if own is None or row.name in own]


def scaled(channels: int, width: float) -> int:
    """A number of channels times the width factor, to the nearest multiple of 8 (at least 8)."""
    return max(8, 8 * int(channels * width / 8 + 0.5))


def require(part: object, name: str, holds: bool, expected: str) -> None:
    """ValueError where an attribute of ``part`` is not as expected."""
    if not holds:
        raise ValueError(f"{name}: {getattr(part, name)!r}; expected {expected}")
