"""Images read from their files as they are needed, by loader workers: for sets beyond memory.

A worker decodes a file and cuts the random patch (or the crops) out of it with Pillow; bytes travel
to the device, and the photometric distortions are done there for the whole mini-batch, by the
function that images in memory go through. Which patch and which distortion is a hash of (seed,
epoch, index), so workers and ranks change nothing, and a run begins at any step without decoding
what it skips.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bn_repro.data import crops
from bn_repro.data.augment import (
    Preprocessing,
    distort,
    distortions,
    fitted,
    normalize,
    patch_draws,
    pixels,
    presented,
)
from bn_repro.data.batches import Batches, Data, Order, to_device
from bn_repro.data.decode import QUARANTINE_LIMIT, Boxes, CorruptImage, Quarantine, read
from bn_repro.data.listing import SPLITS, Listing

Request = tuple[int, np.ndarray]
"""Epoch, and indices (B,) of a mini-batch."""
View = Callable[[int, np.ndarray], Sequence[Boxes]]
"""What is cut out of each image of a mini-batch, given its request."""


class StreamedImages(Data):
    """The image files of a listing, with splits "train" and "val".

    x is float32 (B, 3, size, size), normalized; y is int64 (B,). ``workers`` processes read ahead;
    with 0 a mini-batch is read when it is asked for. The fingerprint covers the files' names and
    classes and the sizes of some, not their content. With ``on_error`` "quarantine" up to ``limit``
    files may be unreadable: in training the next stands in for one, in evaluation it is left out.
    """

    def __init__(
        self,
        name: str,
        listing: Listing,
        presentation: Preprocessing,
        *,
        size: int = 224,
        workers: int = 2,
        on_error: str = "raise",
        limit: int = QUARANTINE_LIMIT,
    ) -> None:
        self.name = name
        self.fingerprint = listing.fingerprint()
        self.class_names = listing.classes
        self.classes = len(listing.classes)
        self.shape: tuple[int, ...] = (3, size, size)
        self.splits = {split: len(listing.labels[split]) for split in SPLITS}
        self._bad = Quarantine(on_error, limit)
        self.quarantined = self._bad.reasons  # which grows
        self.shuffling = presentation.shuffling
        self._listing = listing
        self._presentation = presentation
        self._workers = workers

    def _trained_on(self, order: Order, seed: int, device: torch.device | str) -> Batches:
        requests = ((epoch, index.numpy()) for epoch, index in order)
        augmented = self._presentation.augmentation
        view = partial(patches, seed) if augmented else partial(_centre_crop, self.shape[1])
        return self._distorted(seed, self._read("train", requests, view, device, replace=True))

    def _evaluated_on(
        self, split: str, cuts: Iterator[slice], device: torch.device | str
    ) -> Batches:
        """The centre crop, the shorter side scaled to 256/224 of its size."""
        channels_last = self._presentation.channels_last
        read = self._read(split, _all(cuts), partial(_centre_crop, self.shape[1]), device)
        return ((presented(images[:, 0], channels_last), y) for _, images, y in read)

    def multi_crop_batches(
        self,
        split: str,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> Batches:
        """GoogLeNet's crops of every image of ``split``: x (B, 144, 3, size, size), y (B,).

        At 224 the crops of one image take 87 MB: keep the mini-batch small.
        """
        requests = _all(self._cuts(split, batch_size, rank, world))
        read = self._read(split, requests, partial(_multi_crop, self.shape[1]), device)
        return (
            (presented(images.flatten(0, 1)).view(len(y), -1, *self.shape), y)
            for _, images, y in read
        )

    def _read(
        self,
        split: str,
        requests: Iterator[Request],
        view: View,
        device: torch.device | str,
        replace: bool = False,
    ) -> Iterator[tuple[Request, torch.Tensor, torch.Tensor]]:
        """Each request with its crops, uint8 (B, K, size, size, 3), and labels, on ``device``.

        Unless files that cannot be read are to be replaced, a request has fewer crops for each, and
        is passed over where none is left; CorruptImage where none is left of all.
        """
        on_gpu = torch.device(device).type == "cuda"
        loader = DataLoader(
            Reader(self._listing, split, view, self.shape[1], self._bad.limit, replace),
            sampler=requests,
            batch_size=None,
            num_workers=self._workers,
            pin_memory=on_gpu,
            worker_init_fn=_leave_signals_to_the_trainer,
            generator=torch.Generator(),  # the loader draws from it: not from the global one
        )
        shown, faults = 0, []
        for found in loader:
            if isinstance(found, str):
                raise CorruptImage(found)
            request, images, labels, faults = found
            self._bad.admit(faults)
            shown += len(labels)
            if len(labels):
                yield (
                    request,
                    images.to(device, non_blocking=on_gpu),
                    labels.to(device, non_blocking=on_gpu),
                )
        if faults and not shown:
            raise CorruptImage(f"{faults[-1]}; nor can any before it")

    def _distorted(
        self, seed: int, read: Iterator[tuple[Request, torch.Tensor, torch.Tensor]]
    ) -> Batches:
        shown = self._presentation
        for (epoch, index), images, y in read:
            if shown.distorted:
                drawn = distortions(seed, epoch, index, shown.photometric).astype(np.float32)
                drawn = to_device(torch.from_numpy(drawn), images.device)
                x = distort(pixels(images[:, 0]), drawn)
                yield normalize(x, shown.channels_last), y
            else:
                yield presented(images[:, 0], shown.channels_last), y


class Reader(Dataset):
    """What a worker does: reads the whole mini-batch of a request. It draws nothing at random.

    A file that cannot be read is reported, never raised: from a worker an error comes as a page.
    """

    def __init__(
        self, listing: Listing, split: str, view: View, size: int, limit: int, replace: bool
    ) -> None:
        self.listing, self.split, self.view = listing, split, view
        self.size, self.limit, self.replace = size, limit, replace

    def __getitem__(
        self, request: Request
    ) -> tuple[Request, torch.Tensor, torch.Tensor, list[str]] | str:
        epoch, indices = request
        images, labels, faults = np.empty(0), [], []
        for index, boxes in zip(indices.tolist(), self.view(epoch, indices), strict=True):
            try:
                cut, label, failed = read(
                    self.listing, self.split, index, boxes, self.size, self.limit, self.replace
                )
            except CorruptImage as error:
                return str(error)
            faults += failed
            if cut is None:
                continue
            if not labels:
                images = np.empty((len(indices), *cut.shape), np.uint8)
            images[len(labels)] = cut  # kept for a stack, cuts would all lie in fresh memory
            labels.append(label)
        return request, torch.from_numpy(images[: len(labels)]), torch.tensor(labels), faults


def _all(cuts: Iterator[slice]) -> Iterator[Request]:
    return ((0, np.arange(cut.start, cut.stop)) for cut in cuts)


def patches(seed: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    """The ``View`` of training: a random patch of each image."""
    drawn = patch_draws(seed, epoch, indices)  # of all at once: NumPy's time is in its calls
    return [partial(_patch, drawn[k : k + 1]) for k in range(len(indices))]


def _patch(drawn: np.ndarray, width: int, height: int) -> np.ndarray:
    return fitted(drawn, width / height)


def _centre_crop(size: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    return [lambda width, height: crops.centre_crop(width, height, size)] * len(indices)


def _multi_crop(size: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    return [lambda width, height: crops.multi_crop(width, height, size)] * len(indices)


def _leave_signals_to_the_trainer(worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group. The trainer answers them: it
    # finishes its step, saves, and ends the workers, which also end by themselves if it is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
