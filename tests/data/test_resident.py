from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bn_repro.data import resident
from bn_repro.data.augment import MEAN, STD, Preprocessing
from bn_repro.data.batches import batch_indices
from bn_repro.data.crops import crops, multi_crop
from bn_repro.data.resident import ResidentImages

N = {"train": 24, "val": 10}


@pytest.fixture
def images(draw) -> dict[str, np.ndarray]:
    return {
        split: np.stack([np.asarray(draw(1000 * len(split) + k, 16, 16)) for k in range(n)])
        for split, n in N.items()
    }


@pytest.fixture
def make(images: dict[str, np.ndarray]):
    """A set in which each image is a class of its own, so that a label tells the index."""

    def made(**options) -> ResidentImages:
        labels = {split: np.arange(n) for split, n in N.items()}
        names = tuple(f"c{k}" for k in range(24))
        return ResidentImages("set", "0", names, images, labels, Preprocessing(**options))

    return made


def trained_on(data: ResidentImages, **changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    asked: dict[str, Any] = {"seed": 0, "first_step": 1, "steps": 6, "batch_size": 8} | changes
    x, y = zip(*data.train_batches(**asked), strict=True)
    return torch.cat(x), torch.cat(y)


class TestTrainBatches:
    def test_are_what_the_order_says(self, make) -> None:
        batches = list(make().train_batches(seed=3, first_step=2, steps=7, batch_size=8))
        order = batch_indices(24, seed=3, first_step=2, steps=7, global_batch=8)
        for (x, y), (_, expected) in zip(batches, order, strict=True):
            assert x.shape == (8, 3, 16, 16)
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
            assert torch.equal(y, expected)

    def test_go_on_as_if_never_interrupted(self, make) -> None:
        x, y = trained_on(make())
        later_x, later_y = trained_on(make(), first_step=4)
        assert torch.equal(x[24:], later_x)
        assert torch.equal(y[24:], later_y)

    @pytest.mark.parametrize(
        "asked", [{"batch_size": 4, "steps": 12}, {"batch_size": 24, "steps": 2}]
    )
    def test_of_another_size_show_the_same_samples(self, make, asked: dict[str, int]) -> None:
        x, y = trained_on(make())
        other_x, other_y = trained_on(make(), **asked)
        assert torch.equal(y, other_y)
        assert torch.allclose(x, other_x, atol=1e-6)

    def test_differ_by_epoch_and_by_seed(self, make) -> None:
        x, y = trained_on(make())
        first, second = (
            {int(k): v for k, v in zip(y[c], x[c], strict=True)}
            for c in (slice(0, 24), slice(24, 48))
        )
        assert all(not torch.equal(first[k], second[k]) for k in range(24))
        reseeded = trained_on(make(), seed=1)
        assert not torch.equal(reseeded[1], y)

    def test_shuffle_as_asked(self, make) -> None:
        expected = batch_indices(
            24, seed=0, first_step=1, steps=6, global_batch=8, shuffling="fixed"
        )
        y = trained_on(make(shuffling="fixed"))[1]
        assert torch.equal(y, torch.cat([i for _, i in expected]))
        assert not torch.equal(y, trained_on(make(shuffling="full"))[1])

    def test_photometric_options_differ_in_the_colours_alone(self, make) -> None:
        plain, reduced, full = (
            trained_on(make(photometric=p))[0] for p in ("none", "reduced", "full")
        )
        assert 0 < (reduced - plain).abs().mean() < (full - plain).abs().mean()

    def test_without_augmentation_are_the_images(self, make, images) -> None:
        x, y = trained_on(make(augmentation=False))
        expected = torch.from_numpy(images["train"][y.numpy()]).permute(0, 3, 1, 2) / 255
        expected = (expected - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        assert torch.allclose(x, expected, atol=1e-6)

    def test_leave_the_images_and_the_random_state_alone(self, make, images) -> None:
        before, state = images["train"].copy(), torch.get_rng_state()
        for x, _ in make().train_batches(seed=0, first_step=1, steps=3, batch_size=8):
            x.zero_()
        assert np.array_equal(images["train"], before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_are_made_when_asked_for(self, make, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        resample = resident.resample
        monkeypatch.setattr(
            resident, "resample", lambda *arguments: made.append(1) or resample(*arguments)
        )
        batches = make().train_batches(seed=0, first_step=1, steps=9, batch_size=8)
        assert not made
        next(batches)
        assert len(made) == 1

    @pytest.mark.parametrize("augmentation", [True, False])
    def test_channels_come_last(self, make, augmentation: bool) -> None:
        data = make(augmentation=augmentation)
        for batches in (
            data.train_batches(seed=0, first_step=1, steps=1, batch_size=8),
            data.eval_batches("val", batch_size=4),
        ):
            assert next(batches)[0].is_contiguous(memory_format=torch.channels_last)

    def test_send_what_is_drawn_for_them_as_a_gpu_needs_it(
        self, make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = []
        send = resident.to_device
        monkeypatch.setattr(
            resident, "to_device", lambda x, device: sent.append(x.shape) or send(x, device)
        )
        trained_on(make(photometric="full"), steps=1)
        assert sent == [(8,), (8, 5 + 12)]

    @pytest.mark.gpu
    def test_on_a_gpu_are_those_of_the_cpu(self, make) -> None:
        x, y = trained_on(make(photometric="full"))
        there_x, there_y = trained_on(make(photometric="full"), device="cuda")
        assert there_x.device.type == "cuda"
        assert torch.equal(there_y.cpu(), y)
        assert torch.allclose(there_x.cpu(), x, atol=1e-3)


class TestEvalBatches:
    @pytest.mark.parametrize("world", [1, 3])
    def test_show_every_image_once_and_whole(self, make, images, world: int) -> None:
        found = [
            batch
            for rank in range(world)
            for batch in make().eval_batches("val", batch_size=4, rank=rank, world=world)
        ]
        x, y = (torch.cat(part) for part in zip(*found, strict=True))
        assert y.tolist() == list(range(10))
        levels = (x * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        assert np.array_equal(levels.round().permute(0, 2, 3, 1).numpy(), images["val"])


class TestMultiCropBatches:
    def test_are_48_crops_of_each_image(self, make) -> None:
        found = list(make().multi_crop_batches("val", batch_size=4))
        assert [tuple(x.shape) for x, _ in found] == [(n, 48, 3, 16, 16) for n in (4, 4, 2)]
        assert torch.cat([y for _, y in found]).tolist() == list(range(10))
        # One of them is the single crop: the square itself.
        single = torch.cat([x for x, _ in make().eval_batches("val", batch_size=10)])
        assert torch.allclose(torch.cat([x[:, 10] for x, _ in found]), single, atol=1e-5)

    def test_have_the_mean_of_all_144(self, make, images) -> None:
        (x, _), boxes = (
            next(make().multi_crop_batches("val", batch_size=10)),
            multi_crop(16, 16, 16),
        )
        every = torch.cat(list(crops(torch.from_numpy(images["val"]), boxes, 16)), dim=1)
        assert every.shape[1] == 144
        assert torch.allclose(every.mean(1), x.mean(1), atol=1e-5)
