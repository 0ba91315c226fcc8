"""BN with a part more or less, and in another place of its layer (sec. 3 and 3.2)."""

from __future__ import annotations

import pytest
import torch
from norm.layers import drawn
from torch import Tensor, nn

from bn_repro import norm
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception
from bn_repro.models.mlp import MLP
from bn_repro.models.units import Unit
from bn_repro.norm import parts


def mlp(kind: norm.Norm, **options) -> MLP:
    generator = torch.Generator().manual_seed(0)
    return MLP(norm=kind, generator=generator, widths=[6, 5, 4, 3], **options).double()


def inception(kind: norm.Norm) -> Inception:
    shape = Shape(
        classes=3,
        image_size=32,
        width=0.125,
        modules=("3b", "4d", "5b"),
        auxiliary=True,
        per_activation_modules=1,
    )
    return Inception(shape, norm=kind, generator=torch.Generator().manual_seed(0)).double()


@torch.no_grad()
def shifted(model: nn.Module) -> nn.Module:
    """With parameters of its own everywhere, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.add_(0.3 * torch.randn(p.shape, generator=generator).to(p.dtype))
    return model


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: norm.BatchNormPerActivation(5), (40, 5)),
        (lambda: norm.BatchNormPerFeatureMap(5), (8, 5, 3, 2)),
        (lambda: norm.BatchNormPerActivation(5, 3, 2), (40, 5, 3, 2)),
    ],
)
@pytest.mark.parametrize("fused", [True, False])
def test_gamma_and_beta_can_restore_the_identity(make, shape, fused: bool):
    """Section 3: gamma = sqrt(Var[x] + eps) and beta = E[x], in training and in inference."""
    layer, x = make().double(), 3 * drawn(shape) + 7
    layer.fused = fused
    mu, var = norm.mini_batch_statistics(x, layer.dims(x))
    with torch.no_grad():
        layer.weight.copy_(torch.sqrt(var + layer.eps).view_as(layer.weight))
        layer.bias.copy_(mu.view_as(layer.bias))
    torch.testing.assert_close(layer(x), x)
    layer.running_mean.copy_(mu.view_as(layer.bias))
    layer.running_var.copy_(var.view_as(layer.bias))
    torch.testing.assert_close(layer.eval()(x), x)


def test_without_gamma_and_beta_it_is_x_hat_and_learns_nothing():
    kind, plain = parts.without_gamma_and_beta(eps=1e-3, momentum=0.2), norm.batch(1e-3, 0.2)
    assert not kind.bias
    for ours, theirs, shape in (
        (kind.fc(5), plain.fc(5), (40, 5)),
        (kind.conv(5), plain.conv(5), (8, 5, 3, 2)),
        (kind.per_activation(5, 3, 2), plain.per_activation(5, 3, 2), (8, 5, 3, 2)),
    ):
        x = drawn(shape, torch.float32)
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
        assert not list(ours.parameters())


def test_a_bias_before_it_changes_nothing():
    model, plain = mlp(parts.with_bias(1e-5, 0.1)), mlp(norm.batch())
    x = drawn((8, 6))
    biases = [m.bias for m in model.layers.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for b in biases:
            b.normal_()
    torch.testing.assert_close(model(x), plain(x))
    model(x).pow(2).sum().backward()
    assert len(biases) == 2
    assert all(b.grad is not None and b.grad.abs().max() < 1e-12 for b in biases)


@pytest.mark.parametrize("at", ["after", "input"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_places_of_an_mlp(at: norm.Place, dropout: float):
    """BN(g(Wu + b)) and g(W BN(u) + b); the initial weights are those of the usual place."""
    model = mlp(norm.batch().placed(at), dropout=dropout)
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    usual = [m.weight for m in mlp(norm.batch()).modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(weights, usual, rtol=0, atol=0)
    shifted(model)
    x = u = drawn((8, 6))
    state = torch.get_rng_state()
    found = model(x)
    torch.set_rng_state(state)  # the draws of dropout once more
    for layer in model.layers:
        linear, bn = layer.get_submodule("linear"), layer.get_submodule("norm")
        u = bn(torch.sigmoid(linear(u))) if at == "after" else torch.sigmoid(linear(bn(u)))
        u = nn.functional.dropout(u, dropout)
    torch.testing.assert_close(found, model.classifier(u))
    assert list(model.sites()) == ["hidden1", "hidden2"]


@pytest.mark.parametrize("training", [True, False])
def test_after_the_nonlinearity_in_inception(training: bool):
    """In training units that share their input run as one convolution; one by one is the same."""
    model = shifted(inception(norm.batch().placed("after"))).train(training)
    x = drawn((4, 3, 32, 32))
    found = model(x)

    def one_by_one(unit: Unit, u: Tensor) -> Tensor:
        return unit.norm(torch.relu(unit.linear(u)))

    model.train(False)
    units = [m for m in model.modules() if isinstance(m, Unit)]
    for unit in units:
        assert unit.linear.bias is not None
        unit.norm.train(training)
        unit.forward = one_by_one.__get__(unit)  # pyright: ignore[reportAttributeAccessIssue]
    logits = found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(model(x), logits)


def test_every_parameter_of_inception_has_a_gradient_with_bn_after_its_units():
    model = inception(norm.batch().placed("after")).train()
    torch.cat(model(drawn((4, 3, 32, 32)))).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_inception_has_none_on_its_units_inputs():
    with pytest.raises(ValueError, match=r"^Inception: a norm on the inputs .* before or after"):
        inception(norm.batch().placed("input"))


@pytest.mark.parametrize(
    ("make", "at", "left"),
    [(mlp, "before", 0), (mlp, "after", 2), (mlp, "input", 2), (inception, "after", 26)],
)
def test_folding_leaves_what_stands_elsewhere(make, at: norm.Place, left: int):
    """What is folded and what is not computes the same; the BN that stays is still BN."""
    model = shifted(make(norm.batch().placed(at)))
    x = drawn((8, 6) if make is mlp else (4, 3, 32, 32))
    model.train()(x)
    folded = norm.fold(model.eval())
    torch.testing.assert_close(folded(x), model(x))
    assert sum(isinstance(m, norm.BatchNorm) for m in folded.modules()) == left


def test_without_gamma_and_beta_it_folds():
    model = mlp(parts.without_gamma_and_beta(1e-5, 0.1))
    x = drawn((8, 6))
    model.train()(x)
    folded = norm.fold(model.eval())
    torch.testing.assert_close(folded(x), model(x))
    assert not [m for m in folded.modules() if isinstance(m, norm.BatchNorm)]
