"""From torch.nn's BN to ours and back: the same outputs, gradients, state and modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from norm.layers import drawn
from torch import Tensor, nn

from bn_repro import norm


def network(*options: dict[str, Any]) -> nn.Sequential:
    """torch.nn's BN in a nested model, one layer twice, with averages and weights of its own."""
    first, second = options or ({}, {})
    shared = nn.BatchNorm2d(3, **first)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, 3), shared, nn.Conv2d(3, 3, 1), shared),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4, **second),
    ).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model(drawn((5, 2, 4, 4)))
    return model


def results(model: nn.Module) -> list[Tensor]:
    """Outputs of two steps and their gradients, then of inference, and the state."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 2, 4, 4, generator=generator, dtype=torch.float64)
    outputs = [model.train()(k * x) for k in (1, 2)]
    (outputs[0] ** 2 + outputs[1]).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*outputs, *gradients, model.eval()(x), *model.state_dict().values()]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ({"eps": 1e-2, "momentum": None}, {"affine": False}),
        ({"affine": False}, {"momentum": 0.3}),
    ],
)
def test_from_torch_and_back(options: tuple[dict[str, Any], ...]):
    theirs = network(*options)
    ours = norm.from_torch(theirs)
    again = norm.to_torch(ours)
    own = [m for m in ours.modules() if isinstance(m, norm.BatchNorm)]
    assert [type(m).__name__ for m in own] == ["BatchNormPerFeatureMap", "BatchNormPerActivation"]
    assert not any(isinstance(m, norm.BatchNorm) for m in again.modules())
    assert list(ours.state_dict()) == list(theirs.state_dict()) == list(again.state_dict())
    expected = results(theirs)
    torch.testing.assert_close(results(ours), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(results(again), expected, rtol=0, atol=0)


def test_modes_and_frozen_weights_stay_and_nothing_is_shared():
    theirs = nn.Sequential(nn.BatchNorm1d(3).eval(), nn.BatchNorm1d(3))
    theirs[0].requires_grad_(False)
    for convert in (norm.from_torch, lambda m: norm.to_torch(norm.from_torch(m))):
        made = convert(theirs)
        assert [m.training for m in made.modules()] == [m.training for m in theirs.modules()]
        assert [p.requires_grad for p in made.parameters()] == [False, False, True, True]
        own, before = ({t.data_ptr() for t in m.state_dict().values()} for m in (made, theirs))
        assert not own & before


def test_a_single_layer_and_the_other_forms():
    maps = norm.from_torch(nn.BatchNorm1d(3), batch_norm_1d=norm.BatchNormPerFeatureMap)
    assert maps(torch.randn(4, 3, 6)).shape == (4, 3, 6)
    with pytest.raises(ValueError, match="expected an input"):
        norm.from_torch(nn.BatchNorm1d(3))(torch.randn(4, 3, 6))
    assert type(norm.to_torch(maps, per_feature_map=nn.BatchNorm3d)) is nn.BatchNorm3d
    assert type(norm.from_torch(nn.BatchNorm3d(3))) is norm.BatchNormPerFeatureMap
    synchronized = norm.BatchNormPerFeatureMap(3, synchronized=True)
    assert type(norm.to_torch(synchronized)) is nn.SyncBatchNorm


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(3, track_running_stats=False), nn.SyncBatchNorm(3)],
)
def test_what_has_no_counterpart_is_refused_by_name(layer: nn.Module):
    with pytest.raises(ValueError, match=rf"^from_torch: {type(layer).__name__}.*no counterpart"):
        norm.from_torch(nn.Sequential(layer))


def test_per_activation_on_maps_is_refused():
    with pytest.raises(ValueError, match="^to_torch: BatchNormPerActivation.*no counterpart"):
        norm.to_torch(norm.BatchNormPerActivation(3, 2, 2))
