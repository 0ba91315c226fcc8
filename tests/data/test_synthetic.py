from __future__ import annotations

import numpy as np
import pytest
import torch

from bn_repro.data.augment import Preprocessing
from bn_repro.data.resident import ResidentImages
from bn_repro.data.synthetic import draw, synthetic


def made(**options) -> ResidentImages:
    sizes = {"classes": 4, "size": 32, "train_images": 64, "val_images": 32}
    return synthetic(Preprocessing(augmentation=False), **(sizes | options))


def whole(data: ResidentImages, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    return next(data.eval_batches(split, batch_size=data.splits[split]))


def test_images_are_a_function_of_seed_split_and_index() -> None:
    images = {
        (seed, split, index): draw(seed, split, index, classes=4, size=16)
        for seed in (0, 1)
        for split in ("train", "val")
        for index in (0, 4)
    }
    for key, image in images.items():
        assert np.array_equal(image, draw(*key, classes=4, size=16))
    assert len({image.tobytes() for image in images.values()}) == len(images)


def test_shape_classes_and_counts_are_as_asked_for() -> None:
    data = made(classes=5, size=24, train_images=23, val_images=11)
    assert data.classes == 5
    assert data.shape == (3, 24, 24)
    assert data.splits == {"train": 23, "val": 11}
    x, y = whole(data, "train")
    assert x.shape == (23, 3, 24, 24)
    assert torch.bincount(y).tolist() == [5, 5, 5, 4, 4]


def test_fingerprint_is_of_the_content() -> None:
    assert made().fingerprint == made().fingerprint
    changes = [{"seed": 1}, {"size": 16}, {"classes": 3}, {"train_images": 65}, {"val_images": 33}]
    assert len({made(**change).fingerprint for change in [{}, *changes]}) == 6


@pytest.mark.parametrize("classes", [4, 10])
def test_classes_can_be_learned_but_not_from_the_mean_image(classes: int) -> None:
    data = made(classes=classes, train_images=40 * classes, val_images=10 * classes)

    def nearest(features) -> float:
        (x, y), (v, w) = (whole(data, s) for s in ("train", "val"))
        x, v = features(x).flatten(1), features(v).flatten(1)
        centres = torch.stack([x[y == k].mean(0) for k in range(classes)])
        return (torch.cdist(v, centres).argmin(1) == w).float().mean().item()

    # The amplitude of each spatial frequency is blind to the random phase.
    assert nearest(lambda x: torch.fft.rfft2(x).abs()) > 0.95
    assert nearest(lambda x: x) < 0.85
