"""A trace is what the definition says, and leaves the network as it was."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bn_repro import norm
from bn_repro.models.mlp import MLP
from bn_repro.training.activations import POOLED, histogram, record_activations, sample


def network(**options):
    generator = torch.Generator().manual_seed(0)
    settings = {"norm": norm.batch(), "widths": [20, 7, 5, 10], "init_std": 0.5}
    return MLP(generator=generator, **(settings | options))


def mini_batch(n=60):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 20, generator=generator), torch.randint(10, (n,), generator=generator)


def traced(model, x, y, by_unit=()):
    with record_activations(model.sites()) as activations:
        F.cross_entropy(model(x), y).backward()
    return activations.rows(7, by_unit)


def test_rows_hold_what_their_names_say():
    model, (x, y) = network(), mini_batch()
    rows = {(r["site"], r["unit"]): r for r in traced(model, x, y)}
    assert list(rows) == [("hidden1", 0), ("hidden1", None), ("hidden2", 0), ("hidden2", None)]

    layers = dict(model.layers.named_modules())
    inputs = layers["hidden1.norm"](layers["hidden1.linear"](x))
    inputs = layers["hidden2.norm"](layers["hidden2.linear"](torch.sigmoid(inputs)))
    z = inputs.detach().requires_grad_()
    F.cross_entropy(model.classifier(torch.sigmoid(z)), y).backward()
    assert z.grad is not None
    for unit, values, slopes in (
        (0, z.detach()[:, 0], z.grad[:, 0]),
        (None, z.detach(), z.grad),
    ):
        row, values = rows["hidden2", unit], values.numpy()
        percentiles = np.percentile(values, [15, 50, 85])
        assert [row["p15"], row["p50"], row["p85"]] == pytest.approx(percentiles, rel=1e-4)
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-6)
        assert row["std"] == pytest.approx(values.std(), rel=1e-5)
        assert row["saturated"] == pytest.approx((abs(values) > 4).mean())
        assert row["grad_norm"] == pytest.approx(slopes.norm().item(), rel=1e-4)
        assert row["step"] == 7


def test_a_tanh_saturates_at_half_the_input_of_a_sigmoid():
    """tanh(x) = 2 sigmoid(2x) - 1: at 2 its slope is, of its greatest, what a sigmoid's is at 4."""
    slopes = []
    for function, at in ((torch.sigmoid, 4.0), (torch.tanh, 2.0)):
        x = torch.tensor([at, 0.0], requires_grad=True)
        function(x).sum().backward()
        assert x.grad is not None
        slopes.append(float(x.grad[0] / x.grad[1]))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-5)
    model, (x, y) = network(nonlinearity=nn.Tanh), mini_batch()
    row = next(r for r in traced(model, x, y) if r["site"] == "hidden1" and r["unit"] is None)
    inputs = dict(model.layers.named_modules())["hidden1.norm"](
        dict(model.layers.named_modules())["hidden1.linear"](x)
    )
    assert row["saturated"] == pytest.approx((inputs.abs() > 2).float().mean().item())
    assert row["saturated"] > (inputs.abs() > 4).float().mean().item()


def test_saturation_is_counted():
    model, (x, y) = network(norm=norm.none(), init_std=20.0), mini_batch()
    shares = [r["saturated"] for r in traced(model, x, y) if r["unit"] is None]
    assert all(isinstance(share, float) and share > 0.5 for share in shares)


def test_on_feature_maps_the_unit_is_a_channel():
    site = torch.nn.Sigmoid()
    x = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4).requires_grad_()
    with record_activations({"conv": site}) as taps:
        site(x * 1.0).sum().backward()
        unit, layer = taps.rows(1)
    assert unit["mean"] == pytest.approx(x[:, 0].mean().item())
    assert layer["mean"] == pytest.approx(x.mean().item())


def test_a_large_layer_is_described_by_an_even_sample():
    site = torch.nn.Sigmoid()
    x = torch.randn(64, 32, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with record_activations({"conv": site}) as taps:
        site(x * 1.0).sum().backward()
        layer = taps.rows(1)[1]
    wanted = np.percentile(x.detach().numpy(), [15, 50, 85])
    assert [layer["p15"], layer["p50"], layer["p85"]] == pytest.approx(wanted, abs=0.02)


def test_counts_are_of_the_values_that_the_percentiles_are_of():
    ends = np.array([-np.inf, *np.linspace(-8, 8, 65), np.inf])
    generator = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(60, 100, generator=generator)
    x[0, :6] = torch.tensor([-8.0, 8.0, 7.9999, -1e-9, 0.25, -1e30])
    with record_activations({"h": nn.Sigmoid()}) as recorder:
        recorder.add("h", nn.Sigmoid(), x, x.clone())
    (row,) = recorder.histograms(3)
    assert (row["step"], row["site"]) == (3, "h")
    assert row["counts"] == np.histogram(x.numpy(), ends)[0].tolist()

    large = torch.randn(64, 32, 16, 16, generator=generator)
    counts = np.array(histogram(large))
    assert counts.sum() == len(sample(large.flatten())) <= POOLED
    assert counts / counts.sum() == pytest.approx(
        np.histogram(large.numpy(), ends)[0] / large.numel(), abs=0.005
    )
    assert histogram(large.bfloat16())[33] > 0


def test_what_is_no_number_is_not_counted_and_what_is_infinite_is():
    counts = histogram(torch.tensor([math.nan, math.inf, -math.inf, -math.inf, 1.0]))
    assert (counts[0], counts[-1], sum(counts)) == (2, 1, 4)


def test_no_hook_is_left_and_no_number_changed():
    x, y = mini_batch()
    gradients = []
    for listening in (False, True):
        model = network()
        if listening:
            traced(model, x, y)
        else:
            F.cross_entropy(model(x), y).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_hooks_are_removed_when_the_step_fails():
    model, (x, _) = network(), mini_batch()
    with pytest.raises(RuntimeError), record_activations(model.sites()):
        model(x[:, :3])
    assert not any(m._forward_pre_hooks for m in model.modules())
