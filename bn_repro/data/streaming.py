"""Image sets larger than memory, read from their files by loader workers.

A worker decodes a file and cuts the random patch (or the crops) out of it with Pillow. The bytes
travel to the device, where the whole mini-batch is distorted by the same function as images in
memory. Patch and distortion are a hash of (seed, epoch, index), so workers and ranks change
nothing, and a run resumes at any step without decoding what it skips.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import Any

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
    normalized,
    normalized_picture,
    patch_draws,
    pixels,
)
from bn_repro.data.batches import Batches, Cut, Data, Order, to_device
from bn_repro.data.decode import QUARANTINE_LIMIT, Boxes, CorruptImage, Quarantine, read
from bn_repro.data.listing import Listing
from bn_repro.stop_signal import PREEMPTING

LIMIT_SECONDS, POLL_SECONDS = 300, 1.0
"""How long a worker may take for a mini-batch, and how often that is looked at."""
Request = tuple[int, np.ndarray]
"""Epoch, and indices (B,) of a mini-batch."""
View = Callable[[int, np.ndarray], Sequence[Boxes]]
"""From a request to what is cut out of each of its images."""


class Requests:
    """A pass's requests to a loader, and those that it has not answered yet."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self.next, self.awaited = requests, deque[Request]()

    def __iter__(self) -> Iterator[Request]:
        self.awaited.clear()
        for request in self.next:
            self.awaited.append(request)
            yield request


class StreamedImages(Data):
    """The image files of a listing, with its splits.

    x is float32 (B, 3, size, size), normalized; y is int64 (B,). ``workers`` processes read ahead;
    with 0 a mini-batch is read when it is used. The fingerprint covers the files' names and classes
    and the sizes of some, not their content. With ``on_error`` "quarantine" up to ``limit`` files
    may be unreadable: in training the next file takes the place of one, in evaluation it is left
    out.
    """

    def __init__(
        self,
        name: str,
        listing: Listing,
        preprocessing: Preprocessing,
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
        self.picture = normalized_picture(size)
        self.shape: tuple[int, ...] = self.picture.shape
        self.splits = {split: len(labels) for split, labels in listing.labels.items()}
        self._quarantine = Quarantine(on_error, limit)
        self.quarantined = self._quarantine.reasons  # this list grows while files are read
        self.passed_over = listing.passed_over
        self._left_out: dict[str, list[int]] = {}
        self.shuffling = preprocessing.shuffling
        self._listing = listing
        self._preprocessing = preprocessing
        self._workers = workers
        self._evaluated: dict[str, tuple[Requests, DataLoader]] = {}

    def _train_batches(self, order: Order, seed: int, device: torch.device | str) -> Batches:
        requests = Requests((epoch, index.numpy()) for epoch, index in order)
        augmented = self._preprocessing.augmentation
        view = partial(patches, seed) if augmented else partial(_centre_crop, self.shape[1])
        loader = self._loader("train", requests, view, device, replace=True)
        return self._distorted(seed, self._read("train", requests, loader, device))

    def _eval_batches(self, split: str, cuts: Iterator[Cut], device: torch.device | str) -> Batches:
        """The centre crop, the shorter side scaled to 256/224 of its size."""
        if split not in self._evaluated:
            requests, view = Requests(iter(())), partial(_centre_crop, self.shape[1])
            loader = self._loader(split, requests, view, device, stay=True)
            self._evaluated[split] = requests, loader
        requests, loader = self._evaluated[split]
        requests.next = _all(cuts)
        read = self._read(split, requests, loader, device)
        return ((normalized(images[:, 0], channels_last=True), y) for _, images, y in read)

    def left_out(self, split: str) -> Sequence[int]:
        return self._left_out.get(split, ())

    def multi_crop_batches(
        self, split: str, *, batch_size: int, device: torch.device | str = "cpu"
    ) -> Batches:
        """GoogLeNet's crops of every image of ``split``: x (B, 144, 3, size, size), y (B,).

        At 224 the crops of one image take 87 MB: keep the mini-batch small.
        """
        requests = Requests(_all(self._cuts(split, batch_size)))
        loader = self._loader(split, requests, partial(_multi_crop, self.shape[1]), device)
        read = self._read(split, requests, loader, device)
        return (
            (normalized(images.flatten(0, 1)).view(len(y), -1, *self.shape), y)
            for _, images, y in read
        )

    def _loader(
        self,
        split: str,
        requests: Requests,
        view: View,
        device: torch.device | str,
        *,
        replace: bool = False,
        stay: bool = False,
    ) -> DataLoader:
        """Workers that read ``requests``, and ``stay`` for those of the next pass."""
        return DataLoader(
            Reader(self._listing, split, view, self.shape[1], self._quarantine.limit, replace),
            sampler=requests,
            batch_size=None,
            num_workers=self._workers,
            pin_memory=torch.device(device).type == "cuda",
            worker_init_fn=_ignore_signals,
            persistent_workers=self._workers > 0 and stay,
            generator=torch.Generator(),  # so that the loader does not draw from the global one
        )

    def _read(
        self, split: str, requests: Requests, loader: DataLoader, device: torch.device | str
    ) -> Iterator[tuple[Request, torch.Tensor, torch.Tensor]]:
        """Each request with its crops, uint8 (B, K, size, size, 3), and labels, on ``device``.

        Unreadable files without a replacement are left out, and so is a request without a readable
        file. Raises CorruptImage where no file of any request can be read.
        """
        on_gpu = torch.device(device).type == "cuda"
        count, faults, left_out = 0, [], []
        self._left_out[split] = left_out
        for item in self._in_time(split, iter(loader), requests.awaited):
            if isinstance(item, str):
                raise CorruptImage(item)
            request, images, labels, faults, missing = item
            requests.awaited.popleft()
            left_out += missing
            self._quarantine.record(faults)
            count += len(labels)
            if len(labels):
                yield (
                    request,
                    images.to(device, non_blocking=on_gpu),
                    labels.to(device, non_blocking=on_gpu),
                )
        if faults and not count:
            raise CorruptImage(f"{faults[-1]}; nor can any before it")

    def _in_time(self, split: str, loaded: Any, awaited: deque[Request]) -> Iterator[Any]:
        """The items of ``loaded``; CorruptImage where none comes for LIMIT_SECONDS."""
        with _watched(getattr(loaded, "_workers", [])) as watch:
            while True:
                watch.waited = 0.0
                try:
                    if watch.killed:
                        for worker in loaded._workers:
                            worker.join(1)
                        break
                    item = next(loaded, None)
                except (RuntimeError, OSError, EOFError):
                    if not watch.killed:
                        raise
                    continue  # PyTorch raises for each dead worker, whatever is done just then
                watch.waited = None
                if item is None:
                    return
                yield item
        path = self._listing.path(split, int(awaited[0][1][0]))
        raise CorruptImage(
            f"{path}: a loader worker did not read the mini-batch that begins with it in "
            f"{LIMIT_SECONDS} s; it was stopped, or the disk does not answer"
        )

    def _distorted(
        self, seed: int, read: Iterator[tuple[Request, torch.Tensor, torch.Tensor]]
    ) -> Batches:
        how = self._preprocessing
        for (epoch, index), images, y in read:
            if how.distorted:
                draws = distortions(seed, epoch, index, how.photometric).astype(np.float32)
                x = distort(pixels(images[:, 0]), to_device(torch.from_numpy(draws), images.device))
                yield normalize(x, channels_last=True), y
            else:
                yield normalized(images[:, 0], channels_last=True), y


class Reader(Dataset):
    """The work of a loader worker: read the mini-batch of a request. It draws no random numbers.

    Errors are returned, as a line, since the loader turns what a worker raises into a traceback.
    """

    def __init__(
        self, listing: Listing, split: str, view: View, size: int, limit: int, replace: bool
    ) -> None:
        self.listing, self.split, self.view = listing, split, view
        self.size, self.limit, self.replace = size, limit, replace

    def __getitem__(
        self, request: Request
    ) -> tuple[Request, torch.Tensor, torch.Tensor, list[str], list[int]] | str:
        epoch, indices = request
        images, labels, faults, missing = np.empty(0), [], [], []
        for index, boxes in zip(indices.tolist(), self.view(epoch, indices), strict=True):
            try:
                cut, label, failed = read(
                    self.listing, self.split, index, boxes, self.size, self.limit, self.replace
                )
            except CorruptImage as error:
                return str(error)
            faults += failed
            if cut is None:
                missing.append(index)
                continue
            if not labels:
                images = np.empty((len(indices), *cut.shape), np.uint8)
            images[len(labels)] = cut  # into place: a stack would need fresh memory for every cut
            labels.append(label)
        kept = torch.from_numpy(images[: len(labels)])
        return request, kept, torch.tensor(labels), faults, missing


@dataclass
class Watch:
    """The seconds spent waiting for a mini-batch; None: not waiting."""

    waited: float | None = None
    killed: bool = False
    """Whether the workers were killed. A mini-batch may still come after that, before an error."""


@contextmanager
def _watched(workers: Sequence[BaseProcess]) -> Iterator[Watch]:
    """Within: ``workers`` are killed where a wait lasts for LIMIT_SECONDS, and so it ends.

    The loader's own time limit does not see a worker that was stopped while it hands a mini-batch
    over. The seconds are counted one by one, so time in which this process itself is stopped
    (Ctrl-Z) does not count.
    """
    watch, over = Watch(), Event()

    def count() -> None:
        while not over.wait(POLL_SECONDS):
            if watch.waited is not None:
                watch.waited += POLL_SECONDS
            if watch.waited is not None and watch.waited >= LIMIT_SECONDS:
                watch.killed = True
                for worker in workers:
                    worker.kill()  # a stopped process handles no other signal
                return

    if workers:
        Thread(target=count, daemon=True).start()
    try:
        yield watch
    finally:
        over.set()


def _all(cuts: Iterator[Cut]) -> Iterator[Request]:
    for cut in cuts:
        whole = isinstance(cut, slice)
        yield 0, np.arange(cut.start, cut.stop) if whole else cut.numpy()


def patches(seed: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    """The ``View`` of training: a random patch of each image."""
    draws = patch_draws(seed, epoch, indices)  # all at once: NumPy's cost is in its calls
    return [partial(_patch, draws[k : k + 1]) for k in range(len(indices))]


def _patch(draws: np.ndarray, width: int, height: int) -> np.ndarray:
    return fitted(draws, width / height)


def _centre_crop(size: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    return [lambda width, height: crops.centre_crop(width, height, size)] * len(indices)


def _multi_crop(size: int, epoch: int, indices: np.ndarray) -> list[Boxes]:
    return [lambda width, height: crops.multi_crop(width, height, size)] * len(indices)


def _ignore_signals(worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group. The trainer handles them: it
    # finishes its step, saves, and ends the workers. They also end by themselves without a trainer.
    for name in PREEMPTING:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
