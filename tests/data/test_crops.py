from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bn_repro.data.augment import MEAN, STD
from bn_repro.data.crops import centre_crop, crops, multi_crop, square
from bn_repro.data.decode import cut

SIZES = [(500, 375), (375, 500), (256, 256), (640, 301)]


def in_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    return boxes * [width, height, width, height, 1]


def googlenet(image: Image.Image, size: int) -> list[np.ndarray]:
    """The recipe word by word: resize the image, take squares, cut crops out of whole pixels."""
    views = []
    for shorter in (256, 288, 320, 352):
        side = round(size * shorter / 224)
        scale = side / min(image.size)
        width, height = (max(side, round(s * scale)) for s in image.size)
        whole = image.resize((width, height), Image.Resampling.BILINEAR)
        for place in (0, 0.5, 1):
            x, y = round(place * (width - side)), round(place * (height - side))
            one = whole.crop((x, y, x + side, y + side))
            end = side - size
            corners = [(0, 0), (end, 0), (0, end), (end, end), (end // 2, end // 2)]
            found = [one.crop((a, b, a + size, b + size)) for a, b in corners]
            for view in [*found, one.resize((size, size), Image.Resampling.BILINEAR)]:
                views += [np.asarray(view), np.asarray(view)[:, ::-1]]
    return views


class TestMultiCrop:
    @pytest.mark.parametrize(("width", "height"), SIZES)
    def test_is_144_boxes_inside_the_image_in_mirrored_pairs(self, width, height) -> None:
        boxes = multi_crop(width, height, 224)
        assert boxes.shape == (144, 5)
        assert boxes[:, :4].min() >= -1e-12
        assert boxes[:, :4].max() <= 1 + 1e-12
        assert np.array_equal(boxes[0::2, :4], boxes[1::2, :4])
        assert boxes[:, 4].tolist() == [0, 1] * 72
        spans = in_pixels(boxes, width, height)
        assert spans[:, 2] - spans[:, 0] == pytest.approx(spans[:, 3] - spans[:, 1])

    @pytest.mark.parametrize(("width", "height"), [(300, 240), (240, 300), (64, 64)])
    @pytest.mark.parametrize(("size", "tolerance"), [(64, 6.0), (224, 1.0)])
    def test_is_googlenets_recipe(
        self, width: int, height: int, size: int, tolerance: float, draw
    ) -> None:
        image = draw(1, width, height)
        ours = cut(image, in_pixels(multi_crop(width, height, size), width, height), size)
        theirs = googlenet(image, size)
        assert len(ours) == len(theirs) == 144
        for one, other in zip(ours, theirs, strict=True):
            # They round sizes and places to whole pixels, and resize the squares twice. A crop
            # taken for another differs by 35 and more.
            assert np.abs(one.astype(int) - other).mean() < tolerance

    def test_scales_with_the_network(self) -> None:
        sides = 64 / (multi_crop(64, 64, 64)[:, 2] - multi_crop(64, 64, 64)[:, 0])
        assert sorted(set(sides.round(6))) == [64, 73, 82, 91, 101]

    def test_of_a_square_image_comes_three_times(self) -> None:
        boxes = multi_crop(64, 64, 64)
        once = multi_crop(64, 64, 64, squares=(0.0,))
        assert len(once) == 48
        for side, whole in zip(boxes.reshape(4, 3, 12, 5), once.reshape(4, 12, 5), strict=True):
            for k in range(3):
                assert side[k] == pytest.approx(whole)


class TestCentre:
    @pytest.mark.parametrize(("width", "height"), SIZES)
    def test_crop_is_resize_256_and_centre_224(self, width: int, height: int, draw) -> None:
        image = draw(2, width, height)
        ours = cut(image, in_pixels(centre_crop(width, height, 224), width, height), 224)[0]
        theirs = np.asarray(v2.CenterCrop(224)(v2.Resize(256, antialias=True)(image)))
        assert np.abs(ours.astype(int) - theirs).mean() < 1.5

    def test_square_is_the_largest(self) -> None:
        assert in_pixels(square(500, 300), 500, 300)[0] == pytest.approx([100, 0, 400, 300, 0])
        assert square(64, 64)[0].tolist() == [0, 0, 1, 1, 0]


class TestCrops:
    def test_come_in_chunks_and_are_those_of_pillow(self, draw) -> None:
        images = [draw(k) for k in range(2)]
        boxes = multi_crop(64, 64, 64)
        stacked = torch.from_numpy(np.stack([np.asarray(i) for i in images]))
        parts = list(crops(stacked, boxes, 64, chunk=10))
        assert [p.shape[1] for p in parts] == [10] * 14 + [4]
        x = torch.cat(parts, dim=1)
        assert x.shape == (2, 144, 3, 64, 64)
        levels = (x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        for k, image in enumerate(images):
            theirs = cut(image, in_pixels(boxes, 64, 64), 64).transpose(0, 3, 1, 2)
            assert (levels[k] - torch.from_numpy(theirs)).abs().max() < 1.1

    def test_are_made_as_they_are_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        monkeypatch.setattr(
            "bn_repro.data.crops.resample",
            lambda images, boxes, size: made.append(len(boxes)) or torch.zeros(len(boxes), 3, 8, 8),
        )
        found = crops(torch.zeros(5, 8, 8, 3, dtype=torch.uint8), multi_crop(8, 8, 8), 8, chunk=2)
        assert not made
        next(found)
        assert made == [10]
