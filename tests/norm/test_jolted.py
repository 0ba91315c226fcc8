"""Distributions that are jolted after BN move from pass to pass, in training alone."""

import copy

import pytest
import torch

from bn_repro import norm
from bn_repro.norm import jolted


@pytest.fixture
def x():
    return torch.randn(400, 6, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["batch", "batch_harder"])
def layer(request):
    torch.manual_seed(0)
    return getattr(jolted, request.param)(eps=1e-5, momentum=0.1).conv(6)


def test_every_pass_has_a_shift_and_a_scale_of_its_own_by_feature_map(layer, x):
    jolt = layer[1]
    means, scales = [], []
    for _ in range(200):
        y = layer(x).detach().transpose(0, 1).flatten(1)
        means.append(y.mean(1))
        scales.append(y.std(1))
    means, scales = torch.stack(means), torch.stack(scales).log()
    assert means.abs().max() == pytest.approx(jolt.shift, rel=0.05)  # uniform, in 1,200 draws
    assert means.std() == pytest.approx(jolt.shift / 3**0.5, rel=0.1)
    assert means.mean().abs() < 0.1 * jolt.shift
    assert scales.exp().max() == pytest.approx(jolt.scale, rel=0.05)
    assert scales.mean().abs() < 0.05
    assert torch.corrcoef(means.T).fill_diagonal_(0).abs().max() < 0.3  # each map its own


def test_each_example_has_a_little_noise_of_its_own(layer, x):
    bn = layer[0](x).detach()
    y = layer(x).detach()
    slopes = (y[..., 0, 0] - y[..., 0, 1]) / (bn[..., 0, 0] - bn[..., 0, 1])  # one map, one scale
    assert slopes.std(0).numpy() == pytest.approx(jolted.EACH, rel=0.15)
    shifts = y[..., 1, 1] - slopes * bn[..., 1, 1]
    assert (shifts - shifts.mean(0)).abs().max() <= jolted.EACH * 1.05
    assert shifts.std(0).numpy() == pytest.approx(jolted.EACH / 3**0.5, rel=0.15)


def test_inference_is_bns_own_and_the_gradient_is_autograds(layer, x):
    bn = copy.deepcopy(layer[0])
    for _ in range(3):
        for module in (layer, bn):
            module(x)
    assert torch.equal(layer.eval()(x), bn.eval()(x))
    assert "bias" not in dict(
        torch.nn.Linear(2, 2, bias=jolted.batch(1e-5, 0.1).bias).named_parameters()
    )
    double = layer.train().double()
    few = x[:5].double().requires_grad_()

    def passed(x):
        torch.manual_seed(3)
        return double(x)

    assert torch.autograd.gradcheck(passed, few)


def test_per_activation_and_fully_connected_layers_have_them_too(x):
    made = jolted.batch(eps=1e-5, momentum=0.1)
    assert made.fc(6)(x[..., 0, 0]).shape == (400, 6)
    first = next(iter(made.per_activation(6, 2, 2).children()))
    assert isinstance(first, norm.BatchNormPerActivation)
    assert made.per_activation(6, 2, 2)(x).shape == x.shape
