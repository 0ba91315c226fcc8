"""CIFAR-10's format with a few drawn images: read, chosen from, fetched, trained on."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support import call
from torchvision.datasets import CIFAR10

from bn_repro.config.compose import compose
from bn_repro.config.dataset import Cifar10Config
from bn_repro.config.identity import directory_of, run_id
from bn_repro.data.augment import Preprocessing, normalized
from bn_repro.data.cifar import FOLDER, cifar10
from bn_repro.data.subset import Subset
from bn_repro.records import paths
from bn_repro.records.json_files import read_rows
from bn_repro.records.reader import read_manifest
from bn_repro.sweep.study import expand

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PLAIN = Preprocessing()
WORDS = ["experiment=imagenet/bn_x5", "scale=smoke", "data=cifar10", "train.steps=2"]
WORDS += ["train.batch_size=8", "train.population_batches=1"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the set's eight files, of 30 training and 20 test images."""
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)

    def written(name: str, content: dict[str, object]) -> str:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(name: str, labels: np.ndarray) -> list[str]:
        pixels = draw.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        return [name, written(name, {"data": pixels, "labels": [int(k) for k in labels]})]

    draw = np.random.default_rng(0)
    parts = np.split(draw.permutation(30) % 10, 5)
    train = [batch(f"data_batch_{k}", part) for k, part in enumerate(parts, start=1)]
    meta = dict(CIFAR10.meta, md5=written("batches.meta", {"label_names": list(CLASSES)}))
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", draw.permutation(20) % 10)])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder.parent


def test_the_images_are_those_of_the_files(root: Path) -> None:
    data = cifar10(root, PLAIN)
    assert (data.name, data.classes, data.shape) == ("cifar10", 10, (3, 32, 32))
    assert data.class_names == CLASSES
    assert data.splits == {"train": 30, "test": 20}
    stored = pickle.loads((root / FOLDER / "test_batch").read_bytes())
    ((x, y),) = data.eval_batches("test", batch_size=20)
    assert y.tolist() == stored["labels"]
    planes = torch.from_numpy(stored["data"].reshape(-1, 3, 32, 32))
    torch.testing.assert_close(x, normalized(planes.permute(0, 2, 3, 1)))
    assert cifar10(root / FOLDER, PLAIN).fingerprint == data.fingerprint


def test_a_part_of_it_is_chosen_as_of_other_sets(root: Path) -> None:
    def labels(data, split: str) -> list[int]:
        return [int(k) for _, y in data.eval_batches(split, batch_size=50) for k in y]

    whole = cifar10(root, PLAIN)
    held = cifar10(root, PLAIN, part=Subset(held_out=10))
    assert held.splits == {"train": 20, "val": 10, "test": 20}
    assert sorted(labels(held, "val")) == list(range(10))
    assert labels(held, "test") == labels(whole, "test")
    two = cifar10(root, PLAIN, part=Subset(classes=("dog", "cat")))
    assert two.class_names == ("cat", "dog")
    assert two.splits["test"] == sum(k in (3, 5) for k in labels(whole, "test"))
    assert set(labels(two, "test")) == {0, 1}
    few = cifar10(root, PLAIN, part=Subset(limit=12, seed=1))
    assert few.splits == {"train": 12, "test": 20}
    sets = (whole, held, two, few, cifar10(root, PLAIN, part=Subset(limit=12, seed=2)))
    assert len({data.fingerprint for data in sets}) == 5
    with pytest.raises(ValueError, match=r"^data\.limit: 31 training images wanted"):
        cifar10(root, PLAIN, part=Subset(limit=31))


def test_missing_and_damaged_files_are_refused_in_a_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^data\.root: no {FOLDER}/ under .*data\.download=true"):
        cifar10(tmp_path / "none", PLAIN)
    (root / FOLDER / "data_batch_3").write_bytes(b"cut off")
    for place in (root, root / FOLDER):
        with pytest.raises(ValueError, match=r"^data\.root: a file of CIFAR-10 in .* is missing"):
            cifar10(place, PLAIN)


def test_it_is_fetched_once(root: Path, tmp_path: Path, serve, fetched, monkeypatch) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        members.add(root / FOLDER, FOLDER)
    monkeypatch.setattr(CIFAR10, "url", f"{serve(tmp_path)}{archive.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for _ in range(2):
        data = cifar10(tmp_path / "new", PLAIN, download=True)
        assert data.fingerprint == cifar10(root, PLAIN).fingerprint
    assert fetched == [f"/{archive.name}"] * 2  # where it is redirected to, and the file
    assert {p.name for p in (tmp_path / "new").iterdir()} == {FOLDER, "download.lock"}


def test_inception_trains_on_it(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    words = [*WORDS, f"runs={tmp_path / 'runs'}"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, "data.root: data=cifar10 needs it" in out + err) == (2, True)
    words.append(f"data.root={root}")
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 0, out + err
    directory = directory_of(compose(words))
    assert read_manifest(directory)["shape"] == [3, 32, 32]
    assert {row["split"] for row in read_rows(directory / paths.METRICS)} == {"train", "test"}


def test_it_has_one_size_and_no_flat_images(root: Path) -> None:
    for scale in ("proxy", "digits", "smoke"):  # of which some say an image size
        assert not hasattr(compose([*WORDS, f"scale={scale}"]).data, "image_size")
    with pytest.raises(ValueError, match=r"^data\.image_size: cifar10 has no such key"):
        compose([*WORDS, "data.image_size=64"])


def test_a_study_of_the_digits_is_one_of_it(root: Path) -> None:
    """Each of its runs, with what the scale says of the data, and under an id of its own."""

    def planned(*words: str):
        config = compose(["study=fig3_digits", *words])
        return expand(config.study, words, lambda run: 0.5)[0]

    digits, coloured = planned(), planned("data=cifar10", f"data.root={root}")
    assert len(digits) == len(coloured)
    for one, other in zip(digits, coloured, strict=True):
        assert (one.title, one.blocks) == (other.title, other.blocks)
        data = other.config.data
        assert isinstance(data, Cifar10Config)
        assert data.limit == 6000
        assert run_id(one.config) != run_id(other.config)
