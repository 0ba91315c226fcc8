"""Data sets held in memory; images are augmented there, a mini-batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from bn_repro.data import crops
from bn_repro.data.augment import (
    Preprocessing,
    distort,
    distortions,
    normalize,
    normalized,
    normalized_picture,
    patch_boxes,
    resample,
)
from bn_repro.data.batches import Batches, Cut, Data, Order, to_device


class Resident(Data):
    """A data set in memory: the examples and labels of each split.

    On the CPU they are used in place, also from a memory map. A split is copied to another device
    when it is first used there, and kept.
    """

    def __init__(self, stored: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.splits = {split: len(y) for split, (_, y) in stored.items()}
        here = torch.device("cpu")
        self._copies = {(split, here): pair for split, pair in stored.items()}

    def on(self, device: torch.device | str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A split's examples and labels, on ``device``."""
        key = (split, torch.device(device))
        if key not in self._copies:
            examples, labels = self._copies[split, torch.device("cpu")]
            self._copies[key] = (examples.to(device), labels.to(device))
        return self._copies[key]


class ResidentImages(Resident):
    """A set of uint8 images (N, size, size, 3) and labels (N,) of each split.

    x is float32 (B, 3, size, size), normalized by ``augment.MEAN`` and ``STD``; y is int64 (B,).
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        class_names: tuple[str, ...],
        images: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        preprocessing: Preprocessing,
        quarantined: Sequence[str] = (),
    ) -> None:
        size = images["train"].shape[1]
        self.name = name
        self.fingerprint = fingerprint
        self.class_names = class_names
        self.classes = len(class_names)
        self.picture = normalized_picture(size)
        self.shape: tuple[int, ...] = self.picture.shape
        self.shuffling = preprocessing.shuffling
        self.quarantined = quarantined
        self._preprocessing = preprocessing
        super().__init__(
            {s: (torch.from_numpy(images[s]), torch.from_numpy(labels[s])) for s in labels}
        )

    def _train_batches(self, order: Order, seed: int, device: torch.device | str) -> Batches:
        images, labels = self.on(device, "train")

        def batch(epoch: int, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            there = to_device(index, images.device)
            chosen, y = images.index_select(0, there), labels.index_select(0, there)
            if not self._preprocessing.augmentation:
                return normalized(chosen, channels_last=True), y
            return self._augmented(chosen, seed, epoch, index.numpy()), y

        return (batch(epoch, index) for epoch, index in order)

    def _augmented(
        self, images: torch.Tensor, seed: int, epoch: int, index: np.ndarray
    ) -> torch.Tensor:
        draws = [patch_boxes(seed, epoch, index)]
        if self._preprocessing.distorted:
            draws.append(distortions(seed, epoch, index, self._preprocessing.photometric))
        together = torch.from_numpy(np.concatenate(draws, axis=1).astype(np.float32))
        together = to_device(together, images.device)  # one copy, however much is drawn
        x = resample(images, together[:, :5], self.shape[1])
        if len(draws) > 1:
            x = distort(x, together[:, 5:])
        return normalize(x, channels_last=True)

    def _eval_batches(self, split: str, cuts: Iterator[Cut], device: torch.device | str) -> Batches:
        """Whole images, which are the single crop of a small image."""
        images, labels = self.on(device, split)
        return ((normalized(images[cut], channels_last=True), labels[cut]) for cut in cuts)

    def multi_crop_batches(
        self, split: str, *, batch_size: int, device: torch.device | str = "cpu"
    ) -> Batches:
        """GoogLeNet's crops of every image of ``split``: x (B, 48, 3, size, size), y (B,).

        These images are square, so the three squares of each are the same, and one is cut.
        """
        size = self.shape[1]
        boxes = crops.multi_crop(size, size, size, squares=(0.0,))
        cuts = self._cuts(split, batch_size)
        images, labels = self.on(device, split)
        return (
            (torch.cat(list(crops.crops(images[cut], boxes, size)), dim=1), labels[cut])
            for cut in cuts
        )
