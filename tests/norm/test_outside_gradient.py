"""A normalization outside of the gradient step, against section 2's example and against BN."""

import pytest
import torch

from bn_repro import norm
from bn_repro.norm import outside_gradient

KINDS = ("centred", "scaled", "centred_inside", "scaled_inside")


def layer_of(kind, width=5):
    return getattr(outside_gradient, kind)(eps=1e-5, momentum=0.1).fc(width).double()


@pytest.fixture
def x():
    return torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_scaled_inside_is_batch_normalization(x):
    ours, bn = layer_of("scaled_inside"), norm.batch().fc(5).double()
    grads = []
    for layer in (ours, bn):
        own = (3 * x + 1).requires_grad_()
        y = layer(own)
        (y**3).sum().backward()
        grads.append((y.detach(), own.grad, layer.weight.grad, layer.bias.grad))
        grads[-1] += (layer.eval()(x).detach(),)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_before_it_changes_nothing_and_has_a_gradient_only_outside(kind, x):
    layer, b = layer_of(kind), torch.zeros(5, dtype=torch.float64, requires_grad=True)
    y = layer(x + b)
    torch.testing.assert_close(layer(x + b + 7), y)
    (y**3).sum().backward()
    assert b.grad is not None
    if kind.endswith("inside"):
        assert b.grad.abs().max() < 1e-12
    else:  # dl/db of a network that takes the statistics for constants
        scale = (x.var(0, correction=0) + 1e-5).sqrt() if kind == "scaled" else 1
        torch.testing.assert_close(b.grad, (3 * y.detach() ** 2).sum(0) / scale)


@pytest.mark.parametrize("kind", KINDS)
def test_of_bfloat16_statistics_are_those_of_float32(kind, x):
    """As it is met with train.precision=bfloat16."""
    layer = layer_of(kind).float()
    half = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(half)
    y.float().pow(3).sum().backward()
    assert y.dtype == half.dtype == torch.bfloat16
    assert layer.running_mean.dtype == torch.float32
    wide = half.detach().float()
    torch.testing.assert_close(layer.running_mean, 0.1 * wide.mean(0))
    torch.testing.assert_close(y, layer_of(kind).float()(wide).bfloat16(), rtol=0, atol=0)
    assert layer.eval()(half).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_feature_maps_share_their_statistics_and_evaluation_has_its_own(kind, x):
    layer = getattr(outside_gradient, kind)(eps=1e-5, momentum=0.1).conv(5).double()
    maps = x.view(10, 4, 5).permute(0, 2, 1)[..., None]  # (N, C, H, W), the 40 rows as positions
    torch.testing.assert_close(
        layer(maps), layer_of(kind)(x).view(10, 4, 5).permute(0, 2, 1)[..., None]
    )
    once = layer.eval()(maps)
    torch.testing.assert_close(layer(maps[:1]), once[:1])
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean(0))


def test_it_has_no_form_per_activation_of_a_feature_map():
    with pytest.raises(ValueError, match="no form per activation"):
        outside_gradient.centred(eps=1e-5, momentum=0.1).per_activation(3, 4, 4)
