"""The training mini-batches that Algorithm 2's statistics are estimated from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from bn_repro.config.schema import Config
from bn_repro.data.batches import Data
from bn_repro.training.session import Session
from bn_repro.training.world import World


def population_batches(
    config: Config,
    data: Data,
    session: Session,
    count: int | None = None,
    *,
    synchronized: bool = False,
) -> Iterator[torch.Tensor]:
    """Training mini-batches for Algorithm 2, of the run's own size, from an order of their own.

    ``count`` of them, by default ``train.population_batches``; fewer are the first of more. With
    ``synchronized`` layers each rank takes its share of a mini-batch; else all ranks see the same
    ones.
    """
    ranks = session.world if synchronized else World()
    count = config.train.population_batches if count is None else count
    batches = data.train_batches(
        seed=config.seed + 1_000_003,
        first_step=1,
        steps=count,
        batch_size=config.train.batch_size,
        rank=ranks.rank,
        world=ranks.size,
        device=session.device,
    )
    return (x for x, _ in islice(batches, count))
