"""The probe of covariate shift, against autograd written out; and jolts, which it must not move."""

import copy

import pytest
import torch
from resumed import assert_same_run, config_of, silent, stopped
from torch.nn.functional import cross_entropy
from training.samples import mini_batch, network, sample_of

from bn_repro import norm
from bn_repro.config.identity import directory_of
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception
from bn_repro.norm import jolted
from bn_repro.training import probes, shift_probe
from bn_repro.training.run import run

RATE = 0.5
NORMS = {"batch": norm.batch(), "none": norm.none(), "jolted": jolted.batch(1e-5, 0.1)}


@pytest.fixture(scope="module")
def batch():
    return mini_batch()


def gradients_of(model, batch):
    """By name, in float64, of the whole network in training mode."""
    loss = cross_entropy(model(batch[0].double()), batch[1])
    names, parameters = zip(*model.named_parameters(), strict=True)
    return loss.item(), dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("kind", ["batch", "none"])
def test_a_layers_gradient_turns_by_the_steps_of_those_below_alone(kind, batch):
    model = network(NORMS[kind])
    rows = list(shift_probe.shift(model, batch, RATE))
    turned = {row["site"]: row for row in rows if "cosine" in row}
    assert list(turned) == ["hidden2", "hidden3", "classifier"]
    other = copy.deepcopy(model).double()
    _, before = gradients_of(other, batch)
    with torch.no_grad():
        for name, p in other.named_parameters():
            if "hidden1" in name or "hidden2" in name:
                p -= RATE * before[name]
    _, after = gradients_of(other, batch)
    a, b = (g["layers.hidden3.linear.weight"].flatten() for g in (before, after))
    row = turned["hidden3"]
    assert row["cosine"] == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)))
    assert row["distance"] == pytest.approx(float((b - a).norm() / a.norm()))
    assert row["cosine"] != pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["batch", "none"])
def test_along_a_step_of_all_layers(kind, batch):
    model = network(NORMS[kind])
    rows = {r["size"]: r for r in shift_probe.shift(model, batch, RATE) if r["site"] == "all"}
    assert tuple(rows) == shift_probe.SIZES
    other = copy.deepcopy(model).double()
    loss, before = gradients_of(other, batch)
    assert (rows[0.0]["loss"], rows[0.0]["distance"]) == (pytest.approx(loss), 0)
    with torch.no_grad():
        for name, p in other.named_parameters():
            p -= 2 * RATE * before[name]
    loss, after = gradients_of(other, batch)
    a, b = (torch.cat([g.flatten() for g in grads.values()]) for grads in (before, after))
    assert rows[2.0]["loss"] == pytest.approx(loss)
    assert rows[2.0]["distance"] == pytest.approx(float((b - a).norm() / a.norm()))


def test_it_leaves_the_network_and_the_random_numbers_as_they_were(batch):
    model = network(NORMS["jolted"], dropout=0.5)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    rows = probes.measure(["shift"], 3, model, sample_of(batch, rate=RATE))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {(row["step"], row["probe"]) for row in rows} == {(3, "shift")}
    still = probes.measure(["shift"], 3, model, sample_of(batch, rate=1e-12))
    cosines = [row["cosine"] for row in still if "cosine" in row]
    assert cosines == [pytest.approx(1)] * len(cosines)
    assert cosines


def test_a_module_of_inception_is_one_layer_and_the_auxiliary_classifier_none():
    generator = torch.Generator().manual_seed(0)
    shape = Shape(classes=10, image_size=32, width=0.125, modules=("3b", "4d"), auxiliary=True)
    model = Inception(shape, norm=norm.batch(), generator=generator)
    x = torch.randn(8, 3, 32, 32, generator=generator)
    rows = list(shift_probe.shift(model, (x, torch.arange(8)), 0.1))
    sites = [row["site"] for row in rows if "cosine" in row]
    assert sites == ["conv2_reduce", "conv2", "3b", "4d", "classifier"]


def test_jolts_follow_the_seed_and_a_resume(tmp_path):
    words = ["model.norm=bn_repro.norm.jolted:batch", "train.engine=eager", "train.probes=[shift]"]
    whole, again = (config_of(tmp_path / name, *words) for name in ("whole", "again"))
    run(whole, log=silent)
    torch.manual_seed(5)  # whatever was drawn before
    stopped(again, 45)
    torch.manual_seed(6)
    run(again, log=silent)
    assert_same_run(directory_of(whole), directory_of(again))
    probed = [(directory_of(c) / "probes.jsonl").read_bytes() for c in (whole, again)]
    assert probed[0] == probed[1]
