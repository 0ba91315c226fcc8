"""New distributions of pixels, for digits in a row, coloured digits and normalized photographs."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bn_repro.data import mnist
from bn_repro.data.altered import ALTERATIONS, alteration, shifted
from bn_repro.data.augment import normalize, normalized_picture
from bn_repro.data.batches import Picture
from bn_repro.data.idx import Digits

NAMES = [name for name in ALTERATIONS if name != "unaltered"]
GREY = Picture((1, 5, 4))


@pytest.fixture
def pixels():
    return torch.rand(6, 1, 5, 4, generator=torch.Generator().manual_seed(0))


def test_what_becomes_of_pixels(pixels):
    x = pixels.flatten(1)
    assert torch.equal(alteration(GREY, "inverted")(x), 1 - x)
    assert torch.allclose(alteration(GREY, "contrast", 0.25)(x), 0.375 + x / 4)
    moved = alteration(GREY, "shifted", 1.0)(x).view(-1, 5, 4)
    assert torch.equal(moved[..., 1:], pixels[:, 0, :, :3])
    assert not moved[..., 0].any()
    assert not shifted(pixels, 9).any()  # out of the picture
    found = alteration(GREY, "noisy", 0.5)(x)
    assert found.min() == 0
    assert found.max() == 1
    inside = (found > 0) & (found < 1)
    assert 0.3 < (found - x)[inside].std() < 0.5  # cut
    assert torch.equal(alteration(GREY, "unaltered")(x), x)


def test_each_pass_has_the_same_noise_and_each_mini_batch_its_own(pixels):
    x = pixels.flatten(1)
    one, other = (alteration(GREY, "noisy", 0.1) for _ in range(2))
    first = one(x)
    assert torch.equal(first, other(x))
    assert not torch.equal(first, one(x))
    torch.manual_seed(1)
    assert torch.equal(first, alteration(GREY, "noisy", 0.1)(x))


@pytest.mark.parametrize("name", NAMES)
def test_normalized_photographs_are_altered_in_their_pixels(name, pixels):
    p = pixels.repeat(1, 3, 1, 1)
    p[:, 1] *= 0.5
    x = normalize(p.clone(), channels_last=True)
    found = alteration(normalized_picture(5)._replace(shape=(3, 5, 4)), name, 0.5)(x)
    expected = alteration(Picture((3, 5, 4)), name, 0.5)(p)
    assert torch.allclose(found, normalize(expected), atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, normalize(p.clone()))  # as it was


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("white", [1, 255])
def test_a_digit_is_one_picture_in_a_row_and_coloured(name, white):
    images = np.random.default_rng(0).integers(0, white + 1, (8, 28, 28), dtype=np.uint8)
    digits, how = Digits(images, np.zeros(8, np.uint8), "x"), {"classes": 1, "white": white}
    rows, coloured = (
        mnist.DigitRows("made up", digits, digits, mnist.Part(), coloured=c, **how)
        for c in (False, True)
    )
    found = {}
    for data in (rows, coloured):
        ((x, _),) = data.eval_batches("test", batch_size=8)
        found[data] = alteration(data.picture, name, 2.0 if name == "shifted" else 0.5)(x)
        assert found[data].shape == (8, *data.shape)
    inside = found[coloured][:, :, 2:30, 2:30]
    assert torch.equal(found[coloured], found[coloured][:, :1].expand(-1, 3, -1, -1))  # grey still
    if name == "inverted":  # the padding is background
        assert (F.pad(inside, (2, 2, 2, 2), value=1.0) == found[coloured]).all()
    if name != "noisy":  # which has other noise in a picture of another size
        assert torch.equal(inside[:, 0].flatten(1), found[rows])
