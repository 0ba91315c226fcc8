"""A part of an image set: some classes, images held out, a draw of the others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bn_repro.data.augment import Preprocessing
from bn_repro.data.imagenet import image_folder, imagenet, tiny_imagenet
from bn_repro.data.listing import Listing, list_images
from bn_repro.data.mnist import Part
from bn_repro.data.subset import Subset

PLAIN = Preprocessing()


def names(listing: Listing, split: str) -> list[str]:
    return [Path(path.decode()).name for path in listing.paths[split].tolist()]


@pytest.mark.parametrize("classes", [2, ["n10", "n20"], ["n20", "n10"]])
def test_the_first_classes_by_name_or_those_named(tiny: Path, classes) -> None:
    whole, found = list_images(tiny), Subset(classes).of(list_images(tiny))
    assert found.classes == ("n10", "n20")
    assert found.labels["train"].tolist() == [0] * 6 + [1] * 6
    assert names(found, "train") == names(whole, "train")[:12]
    assert found.labels["val"].tolist() == [0, 0, 1, 1]  # val_0 and val_1 are of n30
    assert names(found, "val") == ["val_2.JPEG", "val_3.JPEG", "val_4.JPEG", "val_5.JPEG"]


def test_classes_are_numbered_anew(folder: Path) -> None:
    found = Subset(["n0", "n2"]).of(list_images(folder))
    assert found.labels["train"].tolist() == [0] * 8 + [1] * 8
    assert found.paths["train"][8] == b"train/n2/train_0.JPEG"


def test_the_last_images_of_each_class_are_held_out(folder: Path) -> None:
    whole, found = list_images(folder), Subset(held_out=6).of(list_images(folder))
    assert list(found.paths) == list(found.labels) == ["train", "val", "test"]
    assert names(found, "val") == ["train_6.JPEG", "train_7.JPEG"] * 3
    assert found.labels["val"].tolist() == [0, 0, 1, 1, 2, 2]
    assert names(found, "train") == [f"train_{k}.JPEG" for k in range(6)] * 3
    assert found.paths["test"].tolist() == whole.paths["val"].tolist()
    assert found.labels["test"].tolist() == whole.labels["val"].tolist()


def test_what_the_classes_do_not_divide_is_spread_by_one(folder: Path) -> None:
    counts = [
        np.bincount(Subset(held_out=n).of(list_images(folder)).labels["val"], minlength=3)
        for n in range(1, 22)
    ]
    assert [c.sum() for c in counts] == list(range(1, 22))
    assert all(c.max() - c.min() <= 1 for c in counts)


def test_training_images_are_drawn_as_mnists_are(folder: Path) -> None:
    chosen, _ = Part(limit=7, limit_seed=3).chosen(18)
    of_all = names(Subset(held_out=6).of(list_images(folder)), "train")
    found = Subset(held_out=6, limit=7, seed=3).of(list_images(folder))
    assert isinstance(chosen, np.ndarray)
    assert names(found, "train") == [of_all[i] for i in chosen]
    assert len(found.labels["val"]) == 6
    other = Subset(held_out=6, limit=7, seed=4).of(list_images(folder))
    assert names(other, "train") != names(found, "train")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Subset(4), "data.classes: 4 wanted, but there are 3"),
        (Subset(["n0", "n9"]), "data.classes: no class 'n9'; there are 3, n0 to n2"),
        (
            Subset(held_out=22),
            "data.held_out: 22 are 8 of class n2, which has 8 training images, and leave none",
        ),
        (Subset(limit=25), "data.limit: 25 training images wanted, but there are 24"),
        (Subset(2, 4, limit=13), "data.limit: 13 training images wanted, but there are 12"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(folder: Path, part: Subset, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}[^\n]*$"):
        part.of(list_images(folder))


PARTS = [
    Subset(),
    Subset(2),
    Subset(["n0", "n2"]),
    Subset(held_out=3),
    Subset(held_out=6),
    Subset(limit=8),
    Subset(limit=8, seed=1),
]


def test_of_a_part_every_way_to_read_a_set_has_the_same(
    folder: Path, tiny: Path, tmp_path: Path
) -> None:
    kept = {"size": 16, "cache_dir": tmp_path}
    made = [image_folder(folder, PLAIN, part=p, **kept) for p in PARTS]
    again = [image_folder(folder, PLAIN, part=p, **kept) for p in PARTS]  # from their caches
    read = [imagenet(folder, PLAIN, part=p, size=16, workers=0) for p in PARTS]
    for one, other, streamed, part in zip(made, again, read, PARTS, strict=True):
        listing = part.of(list_images(folder))
        assert one.splits == streamed.splits == {s: len(y) for s, y in listing.labels.items()}
        assert one.fingerprint == other.fingerprint
        for split in one.splits:
            (x, y), (z, _) = (next(d.eval_batches(split, batch_size=99)) for d in (one, other))
            _, labels = next(streamed.eval_batches(split, batch_size=99))
            assert y.tolist() == labels.tolist() == listing.labels[split].tolist()
            assert x.equal(z)
    for sets in (made, read):
        assert len({data.fingerprint for data in sets}) == len(PARTS)
    assert tiny_imagenet(tiny, PLAIN, part=Subset(2, 4), **kept).splits == {
        "train": 8,
        "val": 4,
        "test": 4,
    }
    assert list_images(folder).digest() == Subset().of(list_images(folder)).digest()
