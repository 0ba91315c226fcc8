"""Images that live in memory, on the device where there is one, augmented there by the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from bn_repro.data import crops
from bn_repro.data.augment import (
    Presentation,
    distort,
    distortions,
    normalize,
    patch_boxes,
    presented,
    resample,
)
from bn_repro.data.batches import batch_indices, steps_per_epoch

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


class ResidentImages:
    """``batches.Data`` on uint8 images (N, size, size, 3) and labels (N,) of "train" and "val".

    x is float32 (B, 3, size, size), normalized by ``augment.MEAN`` and ``STD``; y is int64 (B,). On
    the CPU the arrays are used where they are, a memory map included; to a device a split is copied
    when first asked for there, and stays.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        class_names: tuple[str, ...],
        images: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        presentation: Presentation,
    ) -> None:
        size = images["train"].shape[1]
        self.name = name
        self.fingerprint = fingerprint
        self.class_names = class_names
        self.classes = len(class_names)
        self.shape: tuple[int, ...] = (3, size, size)
        self.splits = {split: len(y) for split, y in labels.items()}
        self._stored = {
            s: (torch.from_numpy(images[s]), torch.from_numpy(labels[s])) for s in labels
        }
        self._resident: dict[tuple[str, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}
        self._presentation = presentation

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
        """This rank's ``batch_size`` examples of the mini-batches ``first_step`` to ``steps``.

        A pure function of (seed, step); the ranks' parts, in order, are the global mini-batch.
        ValueError, at the call, where the training set is smaller than one global mini-batch.
        """
        assert 0 <= rank < world
        images, labels = self._on(device, "train")
        steps_per_epoch(len(labels), batch_size * world)
        order = batch_indices(
            len(labels),
            seed=seed,
            first_step=first_step,
            steps=steps,
            global_batch=batch_size * world,
            shuffling=self._presentation.shuffling,
        )
        own = slice(rank * batch_size, (rank + 1) * batch_size)

        def batch(epoch: int, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            there = index.to(images.device)
            chosen, y = images.index_select(0, there), labels.index_select(0, there)
            if not self._presentation.augmentation:
                return presented(chosen, self._presentation.channels_last), y
            return self._augmented(chosen, seed, epoch, index.numpy()), y

        return (batch(epoch, indices[own]) for epoch, indices in order)

    def _augmented(
        self, images: torch.Tensor, seed: int, epoch: int, index: np.ndarray
    ) -> torch.Tensor:
        drawn = [patch_boxes(seed, epoch, index)]
        if self._presentation.distorted:
            drawn.append(distortions(seed, epoch, index, self._presentation.photometric))
        together = torch.from_numpy(np.concatenate(drawn, axis=1).astype(np.float32))
        together = together.to(images.device)  # one copy, however much is drawn
        x = resample(images, together[:, :5], self.shape[1])
        if len(drawn) > 1:
            x = distort(x, together[:, 5:])
        return normalize(x, self._presentation.channels_last)

    def eval_batches(
        self,
        split: str,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> Batches:
        """Every image of ``split`` once over all ranks, whole: the single crop of a small image.

        Each rank has a contiguous part; the last mini-batch of a part may be short.
        """
        return (
            (presented(images, self._presentation.channels_last), y)
            for images, y in self._parts(split, batch_size, rank, world, device)
        )

    def multi_crop_batches(
        self,
        split: str,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        repeated: bool = True,
    ) -> Batches:
        """GoogLeNet's crops of every image of ``split``: x (B, 144, 3, size, size), y (B,).

        The images are square, so every crop comes three times; not ``repeated``, x is (B, 48, ...),
        with the same mean for a third of the time.
        """
        size = self.shape[1]
        boxes = crops.multi_crop(size, size, size, crops.SQUARES if repeated else (0.0,))
        return (
            (torch.cat(list(crops.crops(images, boxes, size)), dim=1), y)
            for images, y in self._parts(split, batch_size, rank, world, device)
        )

    def _parts(
        self, split: str, batch_size: int, rank: int, world: int, device: torch.device | str
    ) -> Batches:
        assert 0 <= rank < world
        images, labels = self._on(device, split)
        start, stop = (len(labels) * r // world for r in (rank, rank + 1))
        cuts = (slice(i, min(i + batch_size, stop)) for i in range(start, stop, batch_size))
        return ((images[cut], labels[cut]) for cut in cuts)

    def _on(self, device: torch.device | str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        if split not in self._stored:
            raise ValueError(
                f"split {split!r} is unknown; {self.name} has {', '.join(self.splits)}"
            )
        key = (split, torch.device(device))
        if key not in self._resident:
            images, labels = self._stored[split]
            self._resident[key] = (images.to(device), labels.to(device))
        return self._resident[key]
