"""The interface of a data set, and the order of its examples: a pure function of (seed, step).

Nothing here keeps state. So a run that resumes at any step sees the same mini-batches as a run that
was never interrupted, with any number of loader workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

SHUFFLINGS = ("full", "within_shard", "fixed", "fixed_batches")
SHARD = 1024  # examples to a shard; ImageNet's usual TFRecord shards hold about 1,250

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
"""x (B, *shape) float32 and y (B,) int64, mini-batch by mini-batch."""
Cut = slice | torch.Tensor
"""A part of a split: a slice, of which a view is taken, or else indices (B,)."""
Order = Iterator[tuple[int, torch.Tensor]]
"""Epoch and indices (B,) of each mini-batch."""


class Examples(NamedTuple):
    """What a network must know of the examples of a data set."""

    name: str
    shape: tuple[int, ...]
    classes: int


class Picture(NamedTuple):
    """How to view an example as an image, and which inputs black and white pixels are."""

    shape: tuple[int, int, int]
    """Channels, height and width, of which an example is a view."""
    black: tuple[float, ...] = (0.0,)
    white: tuple[float, ...] = (1.0,)
    """The network's input for a black and a white pixel: one for all channels, or one for each."""


class Data(ABC):
    """A data set as training and evaluation use it; subclasses make the examples."""

    name: str
    fingerprint: str
    """Hex digest of the data; a run resumes only where it is the same."""
    classes: int
    shape: tuple[int, ...]
    """The shape of one example as the network sees it."""
    picture: Picture
    splits: dict[str, int]
    """Number of examples of each split: "train" and "test" or "val"."""
    shuffling: str
    quarantined: Sequence[str] = ()
    """A line for each file that this process could not read (data.on_error=quarantine)."""
    passed_over: Mapping[str, int] = MappingProxyType({})
    """By suffix, the number of files that are not images, or lie outside the class folders."""

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
    ) -> Batches:
        """This rank's part, ``batch_size`` examples, of mini-batches ``first_step`` to ``steps``.

        A pure function of (seed, step). The parts of all ranks, in order, are the global
        mini-batch. Raises ValueError, at the call, where the training set is smaller than one
        global mini-batch.
        """
        assert 0 <= rank < world
        n = self.splits["train"]
        steps_per_epoch(n, batch_size * world)
        order = batch_indices(
            n,
            seed=seed,
            first_step=first_step,
            steps=steps,
            global_batch=batch_size * world,
            shuffling=self.shuffling,
        )
        own = slice(rank * batch_size, (rank + 1) * batch_size)
        return self._train_batches(((epoch, i[own]) for epoch, i in order), seed, device)

    def eval_batches(
        self,
        split: str,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        limit: int | None = None,
    ) -> Batches:
        """Every example of ``split`` once over all ranks, in stored order.

        With ``limit`` at most so many, evenly spaced. Each rank has a contiguous part of them,
        whose last mini-batch may be short. Files in quarantine are left out of their mini-batches.
        Raises ValueError for a split that is not there.
        """
        cuts = self._cuts(split, batch_size, rank, world, limit)
        return self._eval_batches(split, cuts, device)

    def eval_indices(
        self, split: str, *, rank: int = 0, world: int = 1, limit: int | None = None
    ) -> np.ndarray:
        """The indices of this rank's examples of ``split``, as :meth:`eval_batches` has them."""
        assert 0 <= rank < world
        if split not in self.splits:
            splits = ", ".join(self.splits)
            raise ValueError(f"split {split!r} is unknown; {self.name} has {splits}")
        n = self.splits[split]
        count = n if limit is None else min(limit, n)
        start, stop = (count * r // world for r in (rank, rank + 1))
        return np.arange(start, stop) * n // count

    def left_out(self, split: str) -> Sequence[int]:
        """The indices that this process's last pass over ``split`` left out: quarantined files."""
        return ()

    def _cuts(
        self, split: str, batch_size: int, rank: int = 0, world: int = 1, limit: int | None = None
    ) -> Iterator[Cut]:
        """The part of ``split`` in each of this rank's mini-batches."""
        own = self.eval_indices(split, rank=rank, world=world, limit=limit)
        parts = (own[i : i + batch_size] for i in range(0, len(own), batch_size))
        return (_as_slice(part) for part in parts)

    @abstractmethod
    def _train_batches(self, order: Order, seed: int, device: torch.device | str) -> Batches:
        """The training mini-batches whose epochs and indices ``order`` yields."""

    @abstractmethod
    def _eval_batches(self, split: str, cuts: Iterator[Cut], device: torch.device | str) -> Batches:
        """The mini-batches of a split that ``cuts`` yields."""


def _as_slice(index: np.ndarray) -> Cut:
    """Sorted indices as a slice, where none is missing between them."""
    first, last = int(index[0]), int(index[-1])
    whole = last - first + 1 == len(index)
    return slice(first, last + 1) if whole else torch.from_numpy(index)


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """A CPU tensor on ``device``, copied where that is another; the host does not wait for a GPU.

    A copy from pageable memory would wait until the GPU has finished all that was queued before. A
    copy from pinned memory is queued itself, and PyTorch keeps that memory until it is done.
    """
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def steps_per_epoch(n: int, global_batch: int) -> int:
    """How many whole mini-batches an epoch has; examples left over are not used in it.

    Raises ValueError where there is none.
    """
    if n < global_batch:
        raise ValueError(
            f"train.batch_size: a mini-batch of {global_batch} needs as many training examples, "
            f"but the data set has {n}; lower train.batch_size or use more data"
        )
    return n // global_batch


def epoch_order(
    n: int, seed: int, epoch: int, shuffling: str = "full", shard: int = SHARD
) -> torch.Tensor:
    """The order of ``n`` examples in ``epoch``: a permutation, int64 (n,).

    - ``full``: a new permutation each epoch.
    - ``fixed``: one permutation for the whole run, cut once into shards. Only the order of the
      shards changes each epoch, so an example often has the same others in its mini-batch.
    - ``within_shard``: as ``fixed``, and each shard is shuffled each epoch (sec. 4.2.1, "more
      thorough shuffling").
    - ``fixed_batches``: as ``fixed``, with mini-batches for shards, so that an example has the same
      others in its mini-batch throughout (sec. 3.4). A short last one stays last.

    The first permutation mixes the classes, so that no mini-batch has a single class.

    With ``fixed`` not all mini-batches recur. Mini-batches of B are cut from the shards laid
    end to end; a short last shard shifts the mini-batches after it by (n % shard) % B examples.
    Measured on 50,000 examples at B = 32 (shifted by 16), seeds 0 to 2: 28 to 63 % of epoch 0's
    mini-batches recur whole in each of epochs 1 to 3, and the others keep half of their examples.
    If B does not divide ``shard``, every shard shifts the mini-batches after it.

    The last n % B examples of an order are not used in its epoch (``steps_per_epoch``).
    """
    if shuffling not in SHUFFLINGS:
        raise ValueError(f"data.shuffling: {shuffling!r} is unknown; one of {SHUFFLINGS}")
    if shuffling == "full":
        return torch.from_numpy(_generator(seed, 1, epoch).permutation(n))
    cut = _generator(seed, 0, 0).permutation(n)
    shards = [cut[i : i + shard] for i in range(0, n, shard)]
    of_epoch = _generator(seed, 2, epoch)
    order = of_epoch.permutation(len(shards))
    if shuffling == "fixed_batches" and n % shard:
        order = np.append(order[order < n // shard], n // shard)
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
    """(epoch, indices of the global mini-batch) of each step from ``first_step`` to ``steps``.

    Epochs are counted from 0.
    """
    current, order = -1, torch.empty(0, dtype=torch.int64)
    shard = global_batch if shuffling == "fixed_batches" else shard
    for step in range(first_step, steps + 1):
        epoch, place = divmod(step - 1, steps_per_epoch(n, global_batch))
        if epoch != current:
            current, order = epoch, epoch_order(n, seed, epoch, shuffling, shard)
        yield epoch, order[place * global_batch : (place + 1) * global_batch]


def _generator(seed: int, stream: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, stream, epoch))))
