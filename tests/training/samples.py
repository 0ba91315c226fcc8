"""What a probe sees, of images that a test has."""

from collections.abc import Iterator

from torch import Tensor

from bn_repro.config.schema import TrainConfig
from bn_repro.data.batches import Picture
from bn_repro.training.evaluate import Pairs
from bn_repro.training.probes import Sample


def sample_of(
    batch: tuple[Tensor, Tensor],
    training: list[Tensor] | None = None,
    size: int = 60,
    rate: float = 0.1,
) -> Sample:
    """A sample whose split is ``batch``, in the order it has."""
    x, y = batch

    def split(size: int) -> Pairs:
        return list(zip(x.split(size), y.split(size), strict=True))

    def drawn(count: int) -> Iterator[Tensor]:
        return iter((training or [])[:count])

    at = TrainConfig(batch_size=size)
    epoch, picture = len(training or []), Picture((1, 1, x[0].numel()))
    return Sample(lambda: batch, split, drawn, at, epoch, rate, picture)
