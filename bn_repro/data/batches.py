"""The order of examples as a pure function of (seed, step), and what a data set is to the trainer.

Nothing here keeps state: a run that starts at any step meets the mini-batches that an uninterrupted
one would have met, on any number of loader workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

SHUFFLINGS = ("full", "within_shard", "fixed")
SHARD = 1024  # examples to a shard; ImageNet's usual TFRecord shards hold about 1,250


class Data(Protocol):
    """A data set as the trainer and the evaluation see it."""

    name: str
    fingerprint: str
    """Hex digest of the content that is trained and evaluated on."""
    classes: int
    shape: tuple[int, ...]
    """Of one example as the network sees it."""
    splits: dict[str, int]
    """Number of examples of each split: "train" and "test" or "val"."""

    def train_batches(
        self,
        *,
        seed: int,
        first_step: int,
        steps: int,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Mini-batches of the steps ``first_step`` to ``steps``: x (B, *shape), y (B,) int64."""
        ...

    def eval_batches(
        self,
        split: str,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every example of ``split`` once, in a fixed order."""
        ...


def steps_per_epoch(n: int, global_batch: int) -> int:
    """Whole mini-batches in one pass; the examples left over wait for another epoch's order."""
    if n < global_batch:
        raise ValueError(
            f"train.batch_size: a mini-batch of {global_batch} needs as many training examples, "
            f"the data set has {n}; lower train.batch_size or use more data"
        )
    return n // global_batch


def epoch_of(n: int, step: int, global_batch: int) -> tuple[int, int]:
    """The epoch (from 0) of ``step`` (from 1), and its mini-batch's place within that epoch."""
    return divmod(step - 1, steps_per_epoch(n, global_batch))


def epoch_order(
    n: int, seed: int, epoch: int, shuffling: str = "full", shard: int = SHARD
) -> torch.Tensor:
    """The order of ``n`` examples in ``epoch``: a permutation, int64 (n,).

    ``full``: a fresh permutation each epoch. ``fixed``: one permutation for the whole run, cut once
    into shards whose order alone changes each epoch, so examples keep meeting the same companions.
    ``within_shard``: the same, and each shard is shuffled within (sec. 4.2.1, "more thorough
    shuffling"). The first permutation mixes the classes, so no mini-batch is of one class.
    """
    if shuffling not in SHUFFLINGS:
        raise ValueError(f"data.shuffling: {shuffling!r} is unknown; one of {SHUFFLINGS}")
    if shuffling == "full":
        return torch.from_numpy(_generator(seed, 1, epoch).permutation(n))
    cut = _generator(seed, 0, 0).permutation(n)
    shards = [cut[i : i + shard] for i in range(0, n, shard)]
    of_epoch = _generator(seed, 2, epoch)
    order = of_epoch.permutation(len(shards))
    if shuffling == "within_shard":
        shards = [of_epoch.permutation(s) for s in shards]
    return torch.from_numpy(np.concatenate([shards[i] for i in order]))


def batch_indices(
    n: int,
    *,
    seed: int,
    first_step: int,
    steps: int,
    global_batch: int,
    shuffling: str = "full",
    shard: int = SHARD,
) -> Iterator[tuple[int, torch.Tensor]]:
    """(epoch, indices of the global mini-batch) of each step from ``first_step`` to ``steps``."""
    known, order = -1, torch.empty(0, dtype=torch.int64)
    for step in range(first_step, steps + 1):
        epoch, place = epoch_of(n, step, global_batch)
        if epoch != known:
            known, order = epoch, epoch_order(n, seed, epoch, shuffling, shard)
        yield epoch, order[place * global_batch : (place + 1) * global_batch]


def _generator(seed: int, stream: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, stream, epoch))))
