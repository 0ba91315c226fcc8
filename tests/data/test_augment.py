from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from bn_repro.data.augment import (
    MEAN,
    STD,
    Preprocessing,
    distort,
    distortions,
    normalize,
    normalized,
    patch_boxes,
    pixels,
    resample,
    uniforms,
)
from bn_repro.data.decode import cut

MANY = np.arange(20_000)


def as_tensor(drawn: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(drawn.astype(np.float32))


class TestUniforms:
    def test_does_not_change_from_release_to_release(self) -> None:
        # Every result of ImageNet hangs on these: a change here is a change of all of them.
        expected = [0.47141042966848024, 0.6477578607352581, 0.019478879317296416]
        assert uniforms(0, 0, [0], 0, 3)[0].tolist() == expected

    def test_is_uniform(self) -> None:
        u = uniforms(3, 1, MANY, 0, 4)
        assert u.min() >= 0
        assert u.max() < 1
        for column in u.T:
            counts = np.histogram(column, bins=50, range=(0, 1))[0]
            chi2 = ((counts - 400) ** 2 / 400).sum()
            assert chi2 < 95  # 49 degrees of freedom: exceeded with probability 1e-4

    @pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 2}, {"purpose": 1}, {"index": 1}])
    def test_each_argument_counts_and_none_correlates(self, change: dict[str, int]) -> None:
        a = uniforms(3, 1, MANY, 0, 2)
        b = uniforms(
            change.get("seed", 3),
            change.get("epoch", 1),
            MANY + change.get("index", 0),
            change.get("purpose", 0),
            2,
        )
        for one in a.T:
            for other in b.T:
                assert abs(np.corrcoef(one, other)[0, 1]) < 0.03  # 4 standard deviations

    def test_of_a_sample_does_not_depend_on_its_companions(self) -> None:
        alone = uniforms(0, 5, [17], 0, 6)
        among = uniforms(0, 5, [3, 17, 99], 0, 9)
        assert np.array_equal(alone[0], among[1, :6])


class TestPatches:
    @pytest.mark.parametrize("aspect", [1.0, 1.5, 0.66, 2.5])
    def test_have_the_area_and_the_aspect_of_googlenet(self, aspect: float) -> None:
        left, top, right, bottom, mirror = patch_boxes(0, 0, MANY, aspect).T
        for edge in (left, top, right, bottom):
            assert edge.min() >= 0
            assert edge.max() <= 1 + 1e-12
        area = (right - left) * (bottom - top)
        ratio = (right - left) / (bottom - top) * aspect
        assert 0.08 - 1e-9 <= area.min() < 0.085
        assert ratio.min() == pytest.approx(3 / 4, abs=1e-3)
        assert ratio.max() == pytest.approx(4 / 3, abs=1e-3)
        assert mirror.mean() == pytest.approx(0.5, abs=0.02)
        assert set(mirror) == {0, 1}
        # Every place is used: the corners, and evenly left and right, up and down.
        assert left.min() < 0.01
        assert right.max() > 0.99
        assert (left + right).mean() == pytest.approx(1, abs=0.01)
        assert (top + bottom).mean() == pytest.approx(1, abs=0.01)

    def test_are_distributed_as_torchvisions(self) -> None:
        height, width = 300, 400
        torch.manual_seed(0)
        image = torch.empty(3, height, width)
        draw = RandomResizedCrop.get_params
        drawn = [draw(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)]
        theirs = np.array([[h / height, w / width] for _, _, h, w in drawn])
        boxes = patch_boxes(0, 0, MANY, width / height)
        ours = (boxes[:, 2:4] - boxes[:, 0:2])[:, ::-1]
        for q in (0.1, 0.25, 0.5, 0.75, 0.9):
            assert np.quantile(ours, q, 0) == pytest.approx(np.quantile(theirs, q, 0), abs=0.02)

    @pytest.mark.parametrize("aspect", [30.0, 1 / 30])
    def test_of_an_extreme_image_are_the_largest_that_fit(self, aspect: float) -> None:
        left, top, right, bottom, _ = patch_boxes(0, 0, MANY[:100], aspect).T
        span = bottom - top if aspect > 1 else right - left
        assert span == pytest.approx(1)
        ratio = (right - left) / (bottom - top) * aspect
        assert ratio == pytest.approx(4 / 3 if aspect > 1 else 3 / 4)

    def test_of_a_sample_do_not_depend_on_its_companions(self) -> None:
        together = patch_boxes(1, 2, range(100), 1.3)
        for k in range(100):
            assert np.array_equal(patch_boxes(1, 2, [k], 1.3)[0], together[k])

    def test_differ_from_epoch_to_epoch(self) -> None:
        assert not np.isclose(patch_boxes(0, 0, MANY), patch_boxes(0, 1, MANY)).all(axis=1).any()


class TestResample:
    def test_gives_what_pillow_gives(self, draw) -> None:
        images = [draw(k) for k in range(12)]
        boxes = patch_boxes(0, 0, range(12))
        assert 0 < boxes[:, 4].sum() < 12
        stacked = torch.from_numpy(np.stack([np.asarray(i) for i in images]))
        ours = resample(stacked, as_tensor(boxes), 64) * 255
        for k, image in enumerate(images):
            scale = np.array([64, 64, 64, 64, 1])
            pillow = torch.tensor(cut(image, boxes[k : k + 1] * scale, 64)[0]).permute(2, 0, 1)
            # Pillow rounds to bytes after each of its two passes.
            assert (ours[k] - pillow).abs().max() < 1.1

    def test_of_the_whole_image_is_the_image(self, draw) -> None:
        image = torch.from_numpy(np.array(draw(0)))[None]
        whole = torch.tensor([[0.0, 0, 1, 1, 0]])
        assert torch.allclose(resample(image, whole, 64), pixels(image), atol=1e-5)
        mirrored = torch.tensor([[0.0, 0, 1, 1, 1]])
        assert torch.allclose(resample(image, mirrored, 64), pixels(image).flip(3), atol=1e-5)


class TestDistortions:
    @pytest.mark.parametrize(("level", "low", "high"), [("full", 0.5, 1.5), ("reduced", 0.8, 1.2)])
    def test_factors_fill_their_range(self, level: str, low: float, high: float) -> None:
        drawn = distortions(0, 0, MANY, level)
        factors = drawn[:, [0, 3, 6]]
        assert factors.min() == pytest.approx(low, abs=1e-3)
        assert factors.max() == pytest.approx(high, abs=1e-3)
        assert factors.mean() == pytest.approx(1, abs=0.01)

    def test_orders_are_all_six_evenly(self) -> None:
        drawn = distortions(0, 0, MANY)
        kinds = drawn[:, [1, 4, 7]] + 2 * drawn[:, [2, 5, 8]]
        orders, counts = np.unique(kinds, axis=0, return_counts=True)
        assert len(orders) == 6
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert counts == pytest.approx(len(MANY) / 6, rel=0.1)

    def test_lighting_has_krizhevskys_covariance(self) -> None:
        lighting = distortions(0, 0, MANY)[:, 9:]
        # eigenvalues 0.2175, 0.0188, 0.0045, each times a normal number of standard deviation 0.1
        found = np.sqrt(np.linalg.eigvalsh(np.cov(lighting.T)))[::-1]
        assert found == pytest.approx([0.02175, 0.00188, 0.00045], rel=0.05)
        assert lighting.mean(axis=0) == pytest.approx(0, abs=4e-4)

    def test_none_is_the_identity(self) -> None:
        x = torch.rand(4, 3, 8, 8)
        undistorted = distort(x.clone(), as_tensor(distortions(0, 0, range(4), "none")))
        assert torch.allclose(undistorted, x, atol=1e-6)

    def test_apply_what_torchvision_applies(self, draw) -> None:
        n = 12
        adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
        x = pixels(torch.from_numpy(np.stack([np.asarray(draw(k)) for k in range(n)])))
        drawn = distortions(0, 0, range(n))
        ours = distort(x.clone(), as_tensor(drawn))
        for k in range(n):
            theirs = x[k]
            for factor, contrast, colour in drawn[k, :9].reshape(3, 3):
                theirs = adjust[int(contrast + 2 * colour)](theirs, factor)
            theirs = theirs + as_tensor(drawn[k, 9:, None, None])
            # Their weights of grey sum to 0.9999.
            assert (ours[k] - theirs).abs().max() < 5e-4


class TestNormalize:
    def test_takes_imagenets_mean_and_deviation_off(self) -> None:
        x = torch.rand(2, 3, 4, 4)
        expected = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        assert torch.allclose(normalize(x.clone()), expected)

    def test_puts_channels_last_when_asked(self) -> None:
        x = torch.rand(2, 3, 4, 4)
        last = normalize(x.clone(), channels_last=True)
        assert last.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(last, normalize(x.clone()))


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalized_is_pixels_normalized_bit_for_bit(channels_last: bool) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8))
    ours = normalized(image, channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert ours.is_contiguous(memory_format=layout)
    assert torch.equal(ours, normalize(pixels(image), channels_last))


def test_pixels_are_bytes_over_255() -> None:
    image = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    x = pixels(torch.from_numpy(image))
    assert x.shape == (2, 3, 3, 5)
    assert torch.allclose(x[1, 2], torch.from_numpy(image[1, :, :, 2] / 255).float())


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"shuffling": "well"}, "data.shuffling: 'well' is unknown; one of full, within_shard"),
        ({"photometric": "much"}, "data.photometric: 'much' is unknown; one of full, reduced"),
    ],
)
def test_unknown_preprocessing_is_refused(option: dict[str, str], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Preprocessing(**option)  # pyright: ignore[reportArgumentType]


def test_without_augmentation_nothing_is_distorted() -> None:
    assert Preprocessing().distorted
    assert not Preprocessing(augmentation=False).distorted
    assert not Preprocessing(photometric="none").distorted


def test_grey_images_stay_grey(draw) -> None:
    grey = Image.fromarray(np.asarray(draw(0).convert("L"))).convert("RGB")
    drawn = as_tensor(distortions(0, 0, [3]))
    drawn[:, 9:] = 0  # the lighting noise is coloured
    x = distort(pixels(torch.from_numpy(np.array(grey))[None]), drawn)
    assert (x[0, 0] - x[0, 1]).abs().max() < 1e-5
