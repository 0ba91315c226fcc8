from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bn_repro.data import streaming
from bn_repro.data.augment import MEAN, STD, Preprocessing
from bn_repro.data.crops import square
from bn_repro.data.decode import decode
from bn_repro.data.imagenet import image_folder, imagenet
from bn_repro.data.listing import list_images
from bn_repro.data.resident import ResidentImages
from bn_repro.data.streaming import StreamedImages

# From Python 3.12 on, forking a process that has threads warns; torch's loader forks.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def streamed(root: Path, size: int = 32, **options) -> StreamedImages:
    known = ("workers", "on_error", "limit")
    loader: dict[str, Any] = {"workers": 0} | {k: options.pop(k) for k in known if k in options}
    listing = list_images(root)
    return StreamedImages("set", listing, Preprocessing(**options), size=size, **loader)


def trained_on(data: StreamedImages, **changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    asked: dict[str, Any] = {"seed": 0, "first_step": 1, "steps": 6, "batch_size": 8} | changes
    x, y = zip(*data.train_batches(**asked), strict=True)
    return torch.cat(x), torch.cat(y)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices that are read, in order (without workers)."""
    indices: list[int] = []
    read = streaming.read

    def counted(listing, split, index, *rest):
        indices.append(index)
        return read(listing, split, index, *rest)

    monkeypatch.setattr(streaming, "read", counted)
    return indices


class TestTrainBatches:
    def test_do_not_depend_on_workers(self, folder: Path) -> None:
        x, y = trained_on(streamed(folder))
        assert x.shape == (48, 3, 32, 32)
        for workers in (1, 2):
            again = trained_on(streamed(folder, workers=workers))
            assert torch.equal(again[0], x)
            assert torch.equal(again[1], y)

    def test_go_on_without_reading_what_was_skipped(self, folder: Path, reads: list[int]) -> None:
        x, _ = trained_on(streamed(folder))
        expected = reads[40:]
        reads.clear()
        later, _ = trained_on(streamed(folder), first_step=6)
        assert torch.equal(later, x[40:])
        assert reads == expected
        assert len(reads) == 8

    def test_are_those_of_images_in_memory(self, tmp_path: Path, draw) -> None:
        # The two paths share the draws and differ in who resamples: Pillow, or a batched product.
        for split in ("train", "val"):
            for label in range(2):
                (tmp_path / "png" / split / f"c{label}").mkdir(parents=True)
                for k in range(8):
                    path = tmp_path / "png" / split / f"c{label}" / f"{k}.png"
                    draw(100 * len(split) + 10 * label + k, 48, 48).save(path)
        asked: dict[str, Any] = {"seed": 5, "first_step": 1, "steps": 4, "batch_size": 8}
        root, preprocessing = tmp_path / "png", Preprocessing(photometric="full")
        resident = image_folder(root, preprocessing, size=48, cache_dir=tmp_path)
        assert isinstance(resident, ResidentImages)
        files = StreamedImages("set", list_images(root), preprocessing, size=48, workers=0)
        both = (data.train_batches(**asked) for data in (resident, files))
        for (x, y), (v, w) in zip(*both, strict=True):
            assert torch.equal(y, w)
            # A level of rounding, which brightness and contrast may enlarge 2.25 times.
            assert ((x - v).abs().amax((0, 2, 3)) * torch.tensor(STD) * 255 < 3.5).all()

    def test_leave_the_random_state_alone(self, folder: Path) -> None:
        state = torch.get_rng_state()
        trained_on(streamed(folder, workers=1), steps=2)
        assert torch.equal(torch.get_rng_state(), state)

    def test_outlive_the_signals_of_a_scheduler(self, folder: Path) -> None:
        batches = streamed(folder, workers=1).train_batches(
            seed=0, first_step=1, steps=12, batch_size=8
        )
        next(batches)
        (worker,) = multiprocessing.active_children()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid or 0, number)
        assert len(list(batches)) == 11

    def test_send_what_is_drawn_for_them_as_a_gpu_needs_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = []
        send = streaming.to_device
        monkeypatch.setattr(
            streaming, "to_device", lambda x, device: sent.append(x.shape) or send(x, device)
        )
        trained_on(streamed(folder), steps=1)
        assert sent == [(8, 12)]

    @pytest.mark.parametrize("photometric", ["full", "none"])
    def test_put_channels_last(self, folder: Path, photometric: str) -> None:
        data = streamed(folder, photometric=photometric)
        for x, _ in (
            next(data.train_batches(seed=0, first_step=1, steps=1, batch_size=8)),
            next(data.eval_batches("val", batch_size=4)),
        ):
            assert x.is_contiguous(memory_format=torch.channels_last)


def test_a_resized_copy_is_another_set(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert streamed(copy).fingerprint == streamed(folder).fingerprint
    for path in copy.glob("*/*/*.JPEG"):
        with Image.open(path) as image:
            image.convert("RGB").resize((64, 64)).save(path)
    assert streamed(copy).fingerprint != streamed(folder).fingerprint


class TestEvaluation:
    def test_every_evaluation_has_the_same_workers(self, folder: Path) -> None:
        data, passes = streamed(folder, workers=2), []
        for _ in range(3):
            y = torch.cat([y for _, y in data.eval_batches("val", batch_size=3)])
            workers = {worker.pid for worker in multiprocessing.active_children()}
            passes.append((y.tolist(), workers))
        assert len(passes[0][0]) == data.splits["val"]
        assert passes == [passes[0]] * 3
        assert len(passes[0][1]) == 2

    def test_can_be_of_images_evenly_spaced(self, folder: Path, reads: list[int]) -> None:
        found = list(streamed(folder).eval_batches("val", batch_size=2, limit=4))
        assert reads == [0, 2, 4, 6]
        assert [y.tolist() for _, y in found] == [[0, 0], [1, 2]]

    def test_crop_is_the_centre_of_the_resized_image(self, folder: Path, draw) -> None:
        x, _ = next(streamed(folder).eval_batches("val", batch_size=9))
        levels = (x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        image = draw(102, 80 + 14, 72 + 5)  # val, class 1, third
        side = 77 * 32 / 37  # the shorter side becomes round(32 * 256 / 224) = 37
        left, top = (94 - side) / 2, (77 - side) / 2
        box = (left, top, left + side, top + side)
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box=box))
        assert np.abs(levels[5].permute(1, 2, 0).numpy() - expected).mean() < 3

    def test_multi_crop_is_144_of_each(self, folder: Path) -> None:
        found = list(streamed(folder).multi_crop_batches("val", batch_size=2))
        assert [x.shape[:2] for x, _ in found] == [(2, 144)] * 4 + [(1, 144)]
        assert found[0][0].shape[2:] == (3, 32, 32)
        # The central crop of the central square at the first size is the single crop (which may
        # be cut from a JPEG decoded at half its size).
        single, _ = next(streamed(folder).eval_batches("val", batch_size=9))
        central = torch.cat([x[:, 12 + 8] for x, _ in found])
        assert (central - single).abs().mean(dim=(1, 2, 3)).max() < 0.1
        assert (central - single.roll(1, 0)).abs().mean(dim=(1, 2, 3)).min() > 0.5


class TestBadImages:
    @pytest.fixture
    def bad(self, folder: Path) -> Path:
        path = folder / "train" / "n1" / "train_3.JPEG"
        path.write_bytes(path.read_bytes()[:500])
        return path

    @pytest.mark.parametrize("workers", [0, 1])
    def test_are_named_in_one_line(self, folder: Path, bad: Path, workers: int) -> None:
        with pytest.raises(ValueError, match=r"train_3\.JPEG: not an image") as caught:
            trained_on(streamed(folder, workers=workers))
        assert "\n" not in str(caught.value)
        assert str(bad) in str(caught.value)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_are_replaced_counted_and_listed(self, folder: Path, bad: Path, workers: int) -> None:
        data = streamed(folder, workers=workers, on_error="quarantine")
        x, _ = trained_on(data)  # two epochs: met twice, counted once
        assert len(data.quarantined) == 1
        assert str(bad) in data.quarantined[0]
        again, _ = trained_on(streamed(folder, on_error="quarantine"))
        assert torch.equal(x, again)

    def test_are_not_tolerated_beyond_a_limit(self, folder: Path) -> None:
        for path in (folder / "train").glob("*/train_[1-3].JPEG"):
            path.write_bytes(b"")
        with pytest.raises(ValueError, match="more than 4 such files"):
            trained_on(streamed(folder, on_error="quarantine", limit=4))

    @pytest.mark.parametrize("workers", [0, 1])
    def test_alone_are_an_error_in_one_line(self, folder: Path, workers: int) -> None:
        for path in (folder / "val").glob("*/*.JPEG"):
            path.write_bytes(b"")
        data = streamed(folder, on_error="quarantine", workers=workers)
        with pytest.raises(ValueError, match=r"val_2\.JPEG: .*; nor can any before it") as caught:
            list(data.eval_batches("val", batch_size=4))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_are_left_out_where_images_are_counted(self, folder: Path, workers: int) -> None:
        whole = [
            torch.cat([x for x, _ in batches])
            for batches in (
                streamed(folder).eval_batches("val", batch_size=9),
                streamed(folder).multi_crop_batches("val", batch_size=9),
            )
        ]
        for k in (1, 4, 5):  # one of the first two, and both of the third two
            (folder / "val" / f"n{k // 3}" / f"val_{k % 3}.JPEG").write_bytes(b"no image")
        left = [0, 2, 3, 6, 7, 8]
        data = streamed(folder, workers=workers, on_error="quarantine")
        for batches, expected in zip(
            (
                data.eval_batches("val", batch_size=2),
                data.multi_crop_batches("val", batch_size=2),
            ),
            whole,
            strict=True,
        ):
            x, y = zip(*batches, strict=True)
            assert [len(labels) for labels in y] == [1, 2, 2, 1]
            assert torch.cat(y).tolist() == [0, 0, 1, 2, 2, 2]
            assert torch.equal(torch.cat(x), expected[left])
        assert len(data.quarantined) == 3

    def test_are_left_out_of_the_training_images_too_where_these_are_counted(
        self, folder: Path, bad: Path
    ) -> None:
        data = streamed(folder, on_error="quarantine")
        y = torch.cat([y for _, y in data.eval_batches("train", batch_size=8)])
        assert y.tolist() == [0] * 8 + [1] * 7 + [2] * 8
        assert trained_on(data, steps=3)[1].bincount().tolist() == [8, 8, 8]  # train_4 for train_3


@pytest.fixture
def stopped_worker(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The rest of an epoch whose one worker is stopped, as by a debugger, and that worker."""
    monkeypatch.setattr(streaming, "POLL_SECONDS", 0.5)
    data, others = streamed(folder, workers=1), set(multiprocessing.active_children())
    batches = data.train_batches(seed=0, first_step=1, steps=9, batch_size=4)
    next(batches)  # which may take its time
    monkeypatch.setattr(streaming, "LIMIT_SECONDS", 1)
    (worker,) = set(multiprocessing.active_children()) - others
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    yield batches, worker
    worker.kill()


def test_a_worker_that_is_stopped_is_told_in_time(stopped_worker) -> None:
    batches, worker = stopped_worker
    with pytest.raises(ValueError, match=r"train_\d\.JPEG: a loader worker did not read") as caught:
        list(batches)
    assert "\n" not in str(caught.value)
    worker.join(20)
    assert worker.exitcode == -signal.SIGKILL


def test_a_mini_batch_that_comes_as_the_workers_are_killed_hides_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(streaming, "LIMIT_SECONDS", 0.02)
    killed = threading.Event()

    def loaded() -> Iterator[str]:
        killed.wait(20)
        yield "handed over just before"
        raise ConnectionResetError

    class Loaded:
        _workers = (SimpleNamespace(kill=killed.set, join=lambda seconds: None),)
        rest = loaded()

        def __next__(self) -> str:
            return next(self.rest)

    got = streamed(folder)._in_time("train", Loaded(), deque([(0, np.array([0]))]))
    assert next(got) == "handed over just before"
    with pytest.raises(ValueError, match="a loader worker did not read"):
        next(got)


def test_a_worker_that_goes_on_is_waited_for(stopped_worker, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(streaming, "LIMIT_SECONDS", 60)
    batches, worker = stopped_worker
    threading.Timer(1.5, os.kill, (worker.pid, signal.SIGCONT)).start()
    rest = torch.cat([x for x, _ in batches])
    alone = streamed(folder).train_batches(seed=0, first_step=2, steps=9, batch_size=4)
    assert torch.equal(rest, torch.cat([x for x, _ in alone]))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(folder: Path, kind: str) -> None:
    path = folder / "val" / "n1" / "val_1.JPEG"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))
    with pytest.raises(
        ValueError, match=r"val_1\.JPEG: not an image .*: not a regular file"
    ) as caught:
        decode(path, square, 16)
    assert "\n" not in str(caught.value)


def test_imagenet_at_224_reads_what_imagenet_holds(folder: Path) -> None:
    data = imagenet(folder, Preprocessing(photometric="reduced"), workers=2)
    assert data.name == "imagenet"
    assert data.shape == (3, 224, 224)
    assert data.classes == 3
    batches = data.train_batches(seed=0, first_step=1, steps=3, batch_size=8)
    found = {int(k) for x, y in batches for k in y if x.shape == (8, 3, 224, 224)}
    assert found == {0, 1, 2}
    (x, y), *_ = data.eval_batches("val", batch_size=9)
    assert x.shape == (9, 3, 224, 224)
    assert torch.isfinite(x).all()
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
