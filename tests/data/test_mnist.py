"""The embedded digits against known facts; IDX files, whole and damaged; batches; the download."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import lzma
import os
import runpy
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bn_repro.data import idx, mnist
from bn_repro.data.batches import batch_indices
from bn_repro.stop_signal import StopFlag

SCRIPT = Path(__file__).parents[2] / "scripts" / "pack_mnist.py"
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = idx.MNIST_MD5

# Of the original's first training digit, a five, where the grey value is above 127.
INK_BY_ROW = [0, 0, 0, 0, 0, 5, 12, 10, 10, 5, 2, 3, 2, 3, 3, 4, 3, 3, 5, 7, 6, 6, 7, 8, 7, 0, 0, 0]
INK_BY_COLUMN = [*[0] * 4, 1, 2, 2, 3, 5, 6, 6, 9, 11, 11, 8, 10, 8, 11, 7, 5, 2, 2, 2, *[0] * 5]


def as_idx(array: np.ndarray, magic: bytes | None = None) -> bytes:
    """The test's own writer of the format: magic, big-endian dimensions, bytes."""
    head = magic or bytes((0, 0, 8, array.ndim))
    return head + b"".join(d.to_bytes(4, "big") for d in array.shape) + array.tobytes()


def drawn(n: int, size: tuple[int, int] = (28, 28), classes: int = 10, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *size), dtype=np.uint8)
    return images, (np.arange(n) % classes).astype(np.uint8)


def write_set(root: Path, train=None, test=None, *, zipped: bool = False) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    arrays = (*(train or drawn(70)), *(test or drawn(30, seed=1)))
    for name, array in zip(idx.MNIST_MD5, arrays, strict=True):
        if zipped:
            (root / f"{name}.gz").write_bytes(gzip.compress(as_idx(array)))
        else:
            (root / name).write_bytes(as_idx(array))
    return root


def whole(data: mnist.DigitRows, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = zip(*data.eval_batches(split, batch_size=1000), strict=True)
    return torch.cat(x), torch.cat(y)


def stream(data: mnist.DigitRows, **wanted):
    defaults: dict[str, Any] = {"seed": 3, "first_step": 1, "steps": 40, "batch_size": 8}
    return list(data.train_batches(**(defaults | wanted)))


def equal(a, b) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


@pytest.fixture(scope="module")
def binary() -> mnist.DigitRows:
    return mnist.mnist_binary()


@pytest.fixture(scope="module")
def packer():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


# The packed set


def test_packed_digits_are_mnist(binary):
    """Counts of each class as published; every pixel 0 or 1; about 1 pixel in 8 is ink."""
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    assert (binary.name, binary.classes, binary.shape) == ("mnist_binary", 10, (784,))
    assert binary.splits == {"train": 60_000, "test": 10_000}
    for split, expected in counts.items():
        x, y = whole(binary, split)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.shape == (sum(expected), 784)
        assert torch.bincount(y).tolist() == expected
        assert ((x == 0) | (x == 1)).all()
        assert 0.12 < x.mean() < 0.14
    assert whole(binary, "train")[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert whole(binary, "test")[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_packed_digits_stand_upright(binary):
    """Rows are rows and columns columns: a digit turned or mirrored would fail."""
    x, _ = whole(binary, "train")
    rows = x[0].reshape(28, 28).int()
    assert rows.sum(1).tolist() == INK_BY_ROW
    assert rows.sum(0).tolist() == INK_BY_COLUMN


def test_readme_tells_the_truth():
    text = (mnist.PACKED.parent / "README.md").read_text()
    packed = mnist.PACKED.read_bytes()
    assert f"{len(packed):,} bytes" in text
    sums = [hashlib.sha256(packed).hexdigest(), *(s for _, s in mnist.PACKED_SPLITS.values())]
    assert all(f"`{s}`" in text for s in (*sums, *idx.MNIST_MD5.values()))
    assert "CC BY-SA 3.0" in text


@pytest.mark.parametrize("where", [0, 500_000, -1])
def test_flipped_byte_in_packed_set_is_found(tmp_path, monkeypatch, where):
    damaged = bytearray(mnist.PACKED.read_bytes())
    damaged[where] ^= 0x10
    check_packed_is_refused(bytes(damaged), tmp_path, monkeypatch)


@pytest.mark.parametrize("length", [0, 1_000_000])
def test_truncated_packed_set_is_found(tmp_path, monkeypatch, length):
    check_packed_is_refused(mnist.PACKED.read_bytes()[:length], tmp_path, monkeypatch)


def test_other_content_in_packed_set_is_found(tmp_path, monkeypatch):
    content = bytearray(lzma.decompress(mnist.PACKED.read_bytes()))
    content[-1] = (content[-1] + 1) % 10  # the last test label: a sound file, another content
    packed = lzma.compress(bytes(content), preset=0)
    check_packed_is_refused(packed, tmp_path, monkeypatch, "SHA-256 of its test split")


def check_packed_is_refused(content: bytes, tmp_path, monkeypatch, reason: str = "not the packed"):
    path = tmp_path / "digits.xz"
    path.write_bytes(content)
    monkeypatch.setattr(mnist, "PACKED", path)
    with pytest.raises(ValueError, match=reason) as error:
        mnist.mnist_binary()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_packed_set_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "PACKED", tmp_path / "digits.xz")
    with pytest.raises(ValueError, match=r"digits\.xz.*No such file"):
        mnist.mnist_binary()


@pytest.mark.parametrize("zipped", [False, True])
def test_packed_equals_thresholded(tmp_path, monkeypatch, packer, zipped):
    """What the packer makes of drawn files, read back, is pixel > 127; the same bytes each time."""
    train, test = drawn(70), drawn(30, seed=1)
    for images, _ in (train, test):
        images[0, 0, :4] = (0, 127, 128, 255)  # both sides of the threshold
    root = write_set(tmp_path / "idx", train, test, zipped=zipped)
    parts = [packer.binarized(part) for part in idx.read_idx_set(root)]
    packed = packer.pack(*parts)
    assert packed == packer.pack(*parts)
    path = tmp_path / "digits.xz"
    path.write_bytes(packed)
    monkeypatch.setattr(mnist, "PACKED", path)
    sums = dict(zip(("train", "test"), ((70, parts[0].digest), (30, parts[1].digest)), strict=True))
    monkeypatch.setattr(mnist, "PACKED_SPLITS", sums)
    data = mnist.mnist_binary()
    for split, (images, labels) in (("train", train), ("test", test)):
        x, y = whole(data, split)
        assert torch.equal(x, torch.tensor(images > 127).reshape(-1, 784).float())
        assert y.tolist() == labels.tolist()
    assert whole(data, "train")[0][0, :4].tolist() == [0, 0, 1, 1]


def test_packer_refuses_files_that_are_not_mnist(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.xz"
    root = write_set(tmp_path / "idx")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(root), "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert idx.MNIST_MD5[TRAIN_IMAGES] in err
    assert not out.exists()


# IDX files


@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_grey_is_scaled_and_found_in_each_layout(tmp_path, folder, zipped):
    train, test = drawn(70), drawn(30, seed=1)
    write_set(tmp_path / folder, train, test, zipped=zipped)
    data = mnist.mnist_grey(tmp_path)
    assert (data.name, data.classes, data.shape) == ("mnist", 10, (784,))
    assert data.splits == {"train": 70, "test": 30}
    for split, (images, labels) in (("train", train), ("test", test)):
        x, y = whole(data, split)
        torch.testing.assert_close(x, torch.tensor(images).reshape(-1, 784) / 255)
        assert y.tolist() == labels.tolist()
        assert 0 <= x.min() < 0.01
        assert 0.99 < x.max() <= 1


def test_other_sets_of_the_format(tmp_path):
    """Fashion-MNIST's sizes or EMNIST's classes: counts, pixels and classes come from the files."""
    write_set(tmp_path, drawn(94, (20, 24), classes=47), drawn(13, (20, 24), classes=5))
    data = mnist.mnist_grey(tmp_path)
    assert (data.name, data.classes, data.shape) == ("mnist", 47, (480,))
    assert data.splits == {"train": 94, "test": 13}


def test_fingerprint_follows_content(tmp_path):
    write_set(tmp_path / "plain")
    write_set(tmp_path / "zipped", zipped=True)
    images, labels = drawn(70)
    labels[5] += 1
    write_set(tmp_path / "relabelled", (images, labels))
    plain = mnist.mnist_grey(tmp_path / "plain")
    assert plain.fingerprint == mnist.mnist_grey(tmp_path / "zipped").fingerprint
    others = [
        mnist.mnist_grey(tmp_path / "relabelled"),
        mnist.mnist_grey(tmp_path / "plain", mnist.Part(held_out=1)),
        mnist.mnist_grey(tmp_path / "plain", mnist.Part(limit=70)),
        mnist.mnist_grey(tmp_path / "plain", mnist.Part(limit=50)),
        mnist.mnist_grey(tmp_path / "plain", mnist.Part(limit=50, limit_seed=1)),
    ]
    assert len({data.fingerprint for data in (plain, *others)}) == 6


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def bad_crc(content: bytes) -> bytes:
    return content[:-8] + bytes(4) + content[-4:]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            TRAIN_IMAGES,
            half(as_idx(drawn(70)[0])),
            "promises 70 x 28 x 28 = 54880 bytes, 27432 follow",
        ),
        (TRAIN_IMAGES, as_idx(drawn(70)[0]) + b"\0", "promises 70 x 28 x 28 = 54880 bytes, 54881"),
        (TRAIN_IMAGES, as_idx(drawn(70)[0], bytes((0, 0, 9, 3))), "begins with 00000903, expected"),
        (TRAIN_IMAGES, as_idx(drawn(70)[1]), "not an IDX file of images"),
        (TRAIN_IMAGES, b"", "begins with nothing"),
        (TRAIN_IMAGES, b"<html>no such page</html>", "begins with 3c68746d"),
        (TRAIN_IMAGES, as_idx(np.empty((0, 28, 28), np.uint8)), "promises 0 x 28 x 28"),
        (TRAIN_IMAGES, gzip.compress(as_idx(drawn(70)[0]))[:-20], "truncated or corrupt"),
        (TRAIN_IMAGES, bad_crc(gzip.compress(as_idx(drawn(70)[0]))), "CRC"),
        (TRAIN_IMAGES, b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 50, "truncated or corrupt"),
        (TEST_LABELS, half(as_idx(drawn(30)[1])), "promises 30 = 30 bytes, 11 follow"),
        (TEST_LABELS, as_idx(drawn(30)[0]), "not an IDX file of labels"),
        (TEST_LABELS, as_idx(drawn(29)[1]), "29 labels for the 30 images"),
        (TEST_LABELS, as_idx(np.full(30, 10, np.uint8)), "label 10 is out of range for 10 classes"),
        (TRAIN_LABELS, as_idx(drawn(69)[1]), "69 labels for the 70 images"),
        (TRAIN_LABELS, as_idx(np.r_[drawn(69)[1], np.uint8(200)]), "label 200, but classes below"),
        (TRAIN_LABELS, as_idx(np.r_[drawn(69)[1], np.uint8(255)]), "label 255, but classes below"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_file_is_named(tmp_path, name, content, reason, suffix):
    write_set(tmp_path)
    (tmp_path / name).unlink()
    path = tmp_path / f"{name}{suffix}"  # gzip is told by its content, not by its name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        mnist.mnist_grey(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_image_sizes_that_disagree(tmp_path):
    write_set(tmp_path, test=drawn(30, (28, 27)))
    with pytest.raises(ValueError, match="28x28 pixels, test images of 28x27"):
        mnist.mnist_grey(tmp_path)


def test_one_file_of_mnist_holds_the_set_to_mnist(tmp_path, monkeypatch):
    """A damaged file among MNIST's own is told by its MD5; a set that is not MNIST has none."""
    write_set(tmp_path)
    sums = {n: hashlib.md5((tmp_path / n).read_bytes()).hexdigest() for n in idx.MNIST_MD5}
    monkeypatch.setattr(idx, "MNIST_MD5", sums)
    mnist.mnist_grey(tmp_path)
    labels = tmp_path / TRAIN_LABELS
    content = labels.read_bytes()
    labels.write_bytes(content[:-1] + bytes((content[-1] - 1,)))
    with pytest.raises(ValueError, match=f"published is {sums[TRAIN_LABELS]}") as error:
        mnist.mnist_grey(tmp_path)
    assert str(labels) in str(error.value)
    for name, n in ((TRAIN_IMAGES, 70), (TEST_IMAGES, 30)):
        (tmp_path / name).write_bytes(as_idx(drawn(n, seed=7)[0]))
    assert mnist.mnist_grey(tmp_path).splits["train"] == 70


def test_names_with_a_dot_are_mnists_too(tmp_path):
    write_set(tmp_path)
    for name in idx.MNIST_MD5:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert mnist.mnist_grey(tmp_path).splits == {"train": 70, "test": 30}


def test_of_several_sets_in_a_folder_one_must_be_named(tmp_path):
    for name in ("FashionMNIST", "KMNIST"):
        write_set(tmp_path / name / "raw")
    with pytest.raises(ValueError, match=r"data\.root: .* has several sets, .*/FashionMNIST"):
        mnist.mnist_grey(tmp_path)
    write_set(tmp_path / "MNIST/raw")  # whose name is the data set's
    assert mnist.mnist_grey(tmp_path).name == "mnist"


def test_missing_files_and_folders_tell_the_layout(tmp_path):
    with pytest.raises(ValueError, match=r"data\.root: .*expected the four IDX files"):
        mnist.mnist_grey(tmp_path / "nowhere")
    write_set(tmp_path)
    (tmp_path / TEST_LABELS).unlink()
    with pytest.raises(ValueError, match=f"no {TEST_LABELS} ") as error:
        mnist.mnist_grey(tmp_path)
    assert f"no {TEST_IMAGES} " not in str(error.value)
    assert "<set>/raw/" in str(error.value)


# For a network that takes coloured images


def test_coloured_digits_are_padded_and_repeated(tmp_path):
    flat, coloured = mnist.mnist_binary(), mnist.mnist_binary(coloured=True)
    assert (coloured.shape, coloured.fingerprint) == ((3, 32, 32), flat.fingerprint)
    (x, y), (rows, labels) = (next(d.eval_batches("test", batch_size=7)) for d in (coloured, flat))
    assert x.shape == (7, 3, 32, 32)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, labels)
    assert all(torch.equal(x[:, c, 2:30, 2:30].flatten(1), rows) for c in range(3))
    assert x.sum() == 3 * rows.sum()
    write_set(tmp_path)
    grey, plain = mnist.mnist_grey(tmp_path, coloured=True), mnist.mnist_grey(tmp_path)
    (x, _), (rows, _) = stream(grey)[0], stream(plain)[0]
    assert x.shape[1:] == grey.shape
    torch.testing.assert_close(x.sum(), 3 * rows.sum())


# Splits


def test_held_out_are_the_last_training_images(tmp_path):
    images, labels = drawn(70)
    write_set(tmp_path, (images, labels))
    data = mnist.mnist_grey(tmp_path, mnist.Part(held_out=20))
    assert data.splits == {"train": 50, "val": 20, "test": 30}
    flat = torch.tensor(images).reshape(70, -1) / 255
    torch.testing.assert_close(whole(data, "train")[0], flat[:50])
    torch.testing.assert_close(whole(data, "val")[0], flat[50:])
    assert whole(data, "val")[1].tolist() == labels[50:].tolist()
    held = {x.numpy().tobytes() for x in whole(data, "val")[0]}
    trained = {x.numpy().tobytes() for batch, _ in stream(data) for x in batch}
    assert len(trained) == 50  # 40 steps of 8: more than six epochs
    assert not held & trained


def test_limit_draws_by_seed_without_replacement(tmp_path):
    write_set(tmp_path)

    def kept(**wanted) -> set[bytes]:
        x, _ = whole(mnist.mnist_grey(tmp_path, mnist.Part(**wanted)), "train")
        return {row.numpy().tobytes() for row in x}

    everything, before = kept(), kept(held_out=20)
    few, more = kept(limit=10), kept(limit=30)
    assert (len(few), len(more), len(everything)) == (10, 30, 70)
    assert few < more < everything
    assert few == kept(limit=10)
    assert few != kept(limit=10, limit_seed=1)
    assert kept(held_out=20, limit=50) == before
    assert mnist.mnist_grey(tmp_path, mnist.Part(limit=10)).splits == {"train": 10, "test": 30}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"held_out": 70}, r"data\.held_out: 70 of 70 training images"),
        ({"held_out": -1}, r"data\.held_out: -1 of 70"),
        ({"limit": 71}, r"data\.limit: 71 training images wanted, but there are 70"),
        ({"limit": 0}, r"data\.limit: 0 "),
        ({"limit": 51, "held_out": 20}, r"there are 50 \(70 less 20 held out\)"),
        ({"shuffling": "none"}, r"data\.shuffling: 'none' is unknown"),
    ],
)
def test_impossible_splits(tmp_path, wanted, reason):
    write_set(tmp_path)
    with pytest.raises(ValueError, match=reason):
        mnist.mnist_grey(tmp_path, mnist.Part(**wanted))


def test_unknown_split(binary):
    with pytest.raises(ValueError, match="split 'val' is unknown; mnist_binary has train, test"):
        binary.eval_batches("val", batch_size=10)


# Mini-batches


@pytest.fixture
def numbered(tmp_path) -> mnist.DigitRows:
    """70 images of 1x2 pixels, the first of which is the image's number."""
    images = np.stack([np.arange(70), np.zeros(70)], axis=1).astype(np.uint8).reshape(70, 1, 2)
    labels = (np.arange(70) % 10).astype(np.uint8)
    write_set(tmp_path, (images, labels), (images, labels))
    return mnist.mnist_grey(tmp_path)


def numbers(batches) -> list[list[int]]:
    return [(x[:, 0] * 255).round().int().tolist() for x, _ in batches]


def test_batches_are_those_of_batch_indices(numbered):
    got = stream(numbered)
    wanted = batch_indices(70, seed=3, first_step=1, steps=40, global_batch=8)
    assert numbers(got) == [i.tolist() for _, i in wanted]
    for x, y in got:
        assert (x.shape, x.dtype, y.dtype) == ((8, 2), torch.float32, torch.int64)
        assert torch.equal(y, (x[:, 0] * 255).round().long() % 10)


def test_ranks_partition_the_global_mini_batch(numbered):
    alone = stream(numbered, batch_size=12)
    ranks = [stream(numbered, batch_size=4, rank=r, world=3) for r in range(3)]
    joined = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
    assert equal(joined, alone)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("split", ["train", "test"])
def test_evaluation_meets_every_image_once_in_order(numbered, split, world):
    parts = [
        numbers(numbered.eval_batches(split, batch_size=16, rank=r, world=world))
        for r in range(world)
    ]
    assert list(itertools.chain(*itertools.chain(*parts))) == list(range(70))
    assert all(len(batch) == 16 for part in parts for batch in part[:-1])


@pytest.mark.parametrize("world", [1, 3])
def test_a_limited_evaluation_meets_images_evenly_spaced(numbered, world):
    def met(limit):
        parts = [
            numbers(numbered.eval_batches("test", batch_size=4, rank=r, world=world, limit=limit))
            for r in range(world)
        ]
        return list(itertools.chain(*itertools.chain(*parts)))

    assert met(7) == list(range(0, 70, 10))
    assert met(20) == [70 * k // 20 for k in range(20)]
    assert met(70) == met(700) == met(None) == list(range(70))


def test_shuffling_fixed_differs_from_full(tmp_path):
    write_set(tmp_path)
    full, fixed = (mnist.mnist_grey(tmp_path, mnist.Part(shuffling=s)) for s in ("full", "fixed"))
    assert not equal(stream(full), stream(fixed))
    # All 70 images are one shard of a fixed order: each epoch of 10 batches repeats the first.
    repeated = stream(fixed, batch_size=7)
    assert equal(repeated[:10], repeated[10:20])


@pytest.mark.parametrize(("batch_size", "world"), [(71, 1), (36, 2)])
def test_fewer_images_than_a_mini_batch(numbered, batch_size, world):
    """Told at the call, before the first mini-batch is asked for."""
    with pytest.raises(ValueError, match=r"train\.batch_size: .*has 70"):
        numbered.train_batches(seed=0, first_step=1, steps=9, batch_size=batch_size, world=world)


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_cpu(numbered):
    for (x, y), (there_x, there_y) in zip(
        stream(numbered), stream(numbered, device="cuda"), strict=True
    ):
        assert there_x.device.type == there_y.device.type == "cuda"
        assert torch.equal(there_y.cpu(), y)
        # CUDA divides by 255 as it multiplies by 1 / 255, which is one bit off.
        torch.testing.assert_close(there_x.cpu(), x, rtol=2e-7, atol=0)


# The download


@pytest.fixture
def mirror(tmp_path, monkeypatch, serve):
    """torchvision's MNIST pointed at a server on this machine that serves drawn files."""
    from torchvision.datasets import MNIST

    served = write_set(tmp_path / "served", zipped=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MNIST, "mirrors", [serve(served)])
    zipped = {n: (served / f"{n}.gz").read_bytes() for n in idx.MNIST_MD5}
    sums = [(f"{n}.gz", hashlib.md5(content).hexdigest()) for n, content in zipped.items()]
    monkeypatch.setattr(MNIST, "resources", sums)
    plain = {n: hashlib.md5(gzip.decompress(content)).hexdigest() for n, content in zipped.items()}
    monkeypatch.setattr(idx, "MNIST_MD5", plain)
    return served


def test_download_is_done_once(mirror, tmp_path):
    first = mnist.mnist_grey()
    assert first.splits == {"train": 70, "test": 30}
    cache = tmp_path / "cache" / "bn_repro" / "mnist"
    assert {p.name for p in cache.iterdir()} - {"download.lock"} == set(idx.MNIST_MD5)
    shutil.rmtree(mirror)
    assert mnist.mnist_grey().fingerprint == first.fingerprint
    (cache / TEST_IMAGES).write_bytes(as_idx(drawn(30, seed=9)[0]))
    with pytest.raises(ValueError, match="not MNIST's file") as error:
        mnist.mnist_grey()
    assert str(cache / TEST_IMAGES) in str(error.value)


def test_a_signal_ends_a_download_that_hangs_and_whole_files_are_kept(
    mirror, handler, fetched, monkeypatch
):
    serve, over, before = handler.do_GET, threading.Event(), set(threading.enumerate())

    def hang_at_the_third_file(self):
        if len(fetched) == 4:  # torchvision asks twice for each
            os.kill(os.getpid(), signal.SIGTERM)
            over.wait(60)
        else:
            serve(self)

    with monkeypatch.context() as hanging, StopFlag().listening():
        hanging.setattr(handler, "do_GET", hang_at_the_third_file)
        with pytest.raises(KeyboardInterrupt):
            mnist.mnist_grey()
        assert not over.is_set()
        over.set()  # the download, which would go with its process, fails
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
    assert len(fetched) == 4
    assert mnist.mnist_grey().splits == {"train": 70, "test": 30}
    assert len(fetched) == 8


def test_unreachable_server_is_one_line(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(
        ValueError, match=r"cannot be downloaded.*refused.*give data\.root"
    ) as error:
        mnist.mnist_grey()
    assert "\n" not in str(error.value)


def test_unwritable_cache_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot be downloaded to .*give data\.root"):
        mnist.mnist_grey()
