"""The probes of section 3.3, against autograd on a network small enough to follow."""

import copy
import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from training.samples import mini_batch, network, sample_of

from bn_repro import norm
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception
from bn_repro.training import probes, weight_probes

NORMS = {"batch": norm.batch(), "none": norm.none()}


@pytest.fixture(params=NORMS)
def model(request):
    return network(NORMS[request.param])


def rows_of(probe: Any, *arguments: Any) -> list[dict[str, Any]]:
    return list(probe(*arguments))


@pytest.fixture(scope="module")
def batch():
    return mini_batch()


def test_probes_leave_the_network_as_it_was_and_each_gets_the_images(model, batch):
    before = copy.deepcopy(model.state_dict())
    names = ["scale", "weights", "jacobians"]
    rows = probes.measure(names, 3, model, sample_of(batch))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {(row["step"], row["probe"]) for row in rows} == {(3, name) for name in names}


def test_a_scaled_layer_departs_by_its_epsilon_alone(model, batch):
    rows = rows_of(weight_probes.scale, model, batch)
    bn = isinstance(model.layers.hidden1.norm, norm.BatchNorm)
    assert {row["epsilon"] for row in rows} == ({0.0, 1e-5} if bn else {0.0})
    for row in rows:
        a, exact = row["scale"], row["epsilon"] == 0
        departures = [row[k] for k in ("output", "input_gradient", "weight_gradient")]
        if not bn:
            expected = abs(a - 1) * batch[0].new_ones(3).double()
            assert departures == pytest.approx(expected.tolist())
            assert row["gradient"] == pytest.approx(1)
        elif exact:
            assert max(departures) < 1e-13
            assert row["gradient"] == pytest.approx(1 / a)
        else:
            assert (max(departures) > 1e-7) == (a != 1)


def test_the_departure_is_that_of_the_layer_itself(batch):
    model = network(norm.batch())
    rows = {
        (row["site"], row["scale"]): row["output"]
        for row in rows_of(weight_probes.scale, model, batch)
        if row["epsilon"]
    }
    first = copy.deepcopy(model.layers.hidden1).double().train()
    x = first.linear(batch[0].double())
    y, scaled = first.norm(x), first.norm(0.01 * x)
    assert rows["hidden1", 0.01] == pytest.approx(((scaled - y).norm() / y.norm()).item())


def test_weights_and_gradients_are_those_of_training_mode(model, batch):
    rows = {row["site"]: row for row in rows_of(weight_probes.weights, model, batch)}
    other = copy.deepcopy(model).double()
    cross_entropy(other(batch[0].double()), batch[1]).backward()
    for site, layer in other.layers.named_children():
        weight = layer.linear.weight
        assert rows[site]["norm"] == pytest.approx(weight.norm().item())
        assert rows[site]["gradient"] == pytest.approx(weight.grad.norm().item())
        assert ("bias" in rows[site]) == (layer.linear.bias is not None)


def test_a_bias_has_its_norm(batch):
    model = network(norm.none())
    with torch.no_grad():
        model.layers.hidden2.linear.bias.copy_(torch.tensor([3.0, 4.0, 0, 0, 0]))
    rows = rows_of(weight_probes.weights, model, batch)
    assert [row["bias"] for row in rows] == [0, 5, 0]


def test_singular_values_are_those_of_autograds_jacobian(model, batch, monkeypatch):
    monkeypatch.setattr(weight_probes, "JACOBIANS", 1)
    rows = {(r["site"], r["normalized"]): r for r in rows_of(weight_probes.jacobians, model, batch)}
    assert list(rows) == [(f"hidden{k}", n) for k in (2, 3) for n in (0, 1)]
    other = copy.deepcopy(model).double()
    below, above = other.layers.hidden1, other.layers.hidden2
    with torch.no_grad():
        y = below.norm(below.linear(batch[0].double()))
        x_above = above.linear(below.nonlinearity(y))
        y_above = above.norm(x_above)
    gain = y_above.std(0, correction=0) / x_above.std(0, correction=0)

    def forward(y_below):
        return gain * above.linear(below.nonlinearity(y_below))

    own = torch.autograd.functional.jacobian(forward, y[0])
    between = own / y_above.std(0, correction=0)[:, None] * y.std(0, correction=0)
    for n, jacobian in enumerate((own, between)):
        log_s = torch.linalg.svdvals(jacobian).log()
        row = rows["hidden2", n]
        assert row["p50"] == pytest.approx(float(log_s.quantile(0.5).exp()))
        assert row["distance"] == pytest.approx(float(log_s.abs().mean()))
        inside = (log_s.exp() >= 0.5) & (log_s.exp() <= 2)
        assert row["within"] == pytest.approx(float(inside.double().mean()))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_of_weights_that_are_not_finite_nothing_is_known(model, batch, value):
    """And nothing raised: the run's next loss says that it has diverged."""
    with torch.no_grad():
        model.layers.hidden3.linear.weight[0, 0] = value
    for row in rows_of(weight_probes.jacobians, model, batch):
        values = [row[key] for key in ("p15", "p50", "p85", "distance", "within")]
        assert [math.isnan(v) for v in values] == [row["site"] == "hidden3"] * 5


def test_every_unit_of_inception_is_scaled():
    generator = torch.Generator().manual_seed(0)
    shape = Shape(classes=10, image_size=32, width=0.125, modules=("3b", "5b"))
    model = Inception(shape, norm=norm.batch(), generator=generator)
    x = torch.randn(8, 3, 32, 32, generator=generator)
    rows = rows_of(weight_probes.scale, model, (x, torch.arange(8)))
    assert {row["site"] for row in rows} == set(model.sites())
    assert max(row["output"] for row in rows if not row["epsilon"]) < 1e-12
    assert not rows_of(weight_probes.jacobians, model, (x, torch.arange(8)))  # no two are matrices


@pytest.mark.parametrize("kind", ["weight", "layer"])
def test_other_norms_have_their_own_epsilon_and_weights(kind, batch):
    """Weight normalization makes its weights of others; a layer's norm has an epsilon too."""
    model = network(getattr(norm, kind)())
    rows = rows_of(weight_probes.scale, model, batch)
    assert {row["epsilon"] for row in rows} == ({0.0} if kind == "weight" else {0.0, 1e-5})
    exact = [row for row in rows if row["epsilon"] == 0 and row["scale"] == 1e-3]
    departs = kind == "weight"  # aW is no longer normalized
    assert all((row["output"] > 1e-3) == departs for row in exact)
    for row in rows_of(weight_probes.weights, model, batch):
        assert row["gradient"] > 0
