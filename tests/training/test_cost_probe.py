"""The probe of time and memory: its bytes against a count, its times against a made-up clock."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from training.samples import sample_of

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception
from bn_repro.models.mlp import MLP
from bn_repro.training import cost_probe, probes
from bn_repro.training.world import World

EVERY = {"training", "inference", "training_folded", "inference_folded"}


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    monkeypatch.setattr(cost_probe, "SECONDS", 0.0)


def mlp(kind, dropout=0.0):
    generator = torch.Generator().manual_seed(0)
    how = {"generator": generator, "widths": [20, 7, 5, 10], "init_std": 0.5}
    return MLP(norm=kind, dropout=dropout, **how).train()


def inception(kind):
    shape = Shape(classes=10, image_size=32, width=0.125, modules=("3b", "5b"))
    return Inception(shape, norm=kind, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(100, 20, generator=generator), torch.arange(100) % 10


def measured(model, batch) -> dict[str, Any]:
    (row,) = probes.measure(["cost"], 3, model, sample_of(batch))
    return row


def test_bytes_are_what_can_be_counted(batch):
    """Of 60 images: outputs of 7 and 5 sigmoids, log-probabilities, and cross-entropy's weight."""
    without = 4 * (60 * (7 + 5 + 10) + 1)
    row = measured(mlp(norm.none()), batch)
    assert row["kept_bytes"] == without
    assert row["parameter_bytes"] == 4 * (20 * 7 + 7 + 7 * 5 + 5 + 5 * 10 + 10)
    assert row["buffer_bytes"] == 0
    assert {name for name in EVERY if f"{name}_seconds" in row} == {"training", "inference"}

    bn = measured(mlp(norm.batch()), batch)  # its input, and a mean and a width of each unit
    assert bn["kept_bytes"] == without + 4 * (60 * (7 + 5) + 2 * (7 + 5))
    assert bn["parameter_bytes"] == row["parameter_bytes"] + 4 * (7 + 5)  # no bias, gamma and beta
    assert bn["buffer_bytes"] == 4 * 2 * (7 + 5) + 8 * 2  # and two counters
    assert {name for name in EVERY if f"{name}_seconds" in bn} == EVERY
    assert all(bn[f"{name}_seconds"] > 0 for name in EVERY)


def test_it_leaves_the_network_its_gradients_and_the_random_numbers_as_they_were(batch):
    model = mlp(norm.batch(), dropout=0.5)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    measured(model, batch)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(bool((p.grad == 1).all()) for p in model.parameters())


@pytest.mark.parametrize("made", [mlp, inception])
def test_folded_it_has_the_layers_of_the_network_without_bn(made):
    found, without = cost_probe.folded(made(norm.batch())), made(norm.none())
    assert found is not None
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (found, without)]
    assert shapes[0] == shapes[1]
    kinds = [[type(m) for m in model.modules()] for model in (found, without)]
    assert kinds[0] == kinds[1]
    assert all(p.requires_grad for p in found.parameters())


@pytest.mark.parametrize("kind", [norm.layer(), norm.batch().placed("after")])
def test_what_cannot_be_folded_has_no_folded_times(kind, batch):
    row = measured(mlp(kind), batch)
    assert not [name for name in row if "folded" in name]


def test_every_kind_has_its_turn_in_each_round_and_its_median(monkeypatch):
    """By a clock of made-up seconds: a slow call and a fast one, and a machine that once stops."""
    now, called = 0.0, []

    def works(name, seconds):
        def call():
            nonlocal now
            called.append(name)
            stopped = len(called) == 2 * cost_probe.WARM_UP + 2
            now += seconds + 50 * stopped

        return call

    work = {"slow": works("slow", 3.0), "fast": works("fast", 1.0)}
    found = cost_probe.medians(work, lambda: now)
    assert found == {"slow": 3.0, "fast": 1.0}
    rounds = called[2 * cost_probe.WARM_UP :]
    assert rounds == ["slow", "slow", "fast", "fast"] * cost_probe.ROUNDS
    monkeypatch.setattr(cost_probe, "SECONDS", 160.0)
    called.clear()
    cost_probe.medians(work, lambda: now)
    assert len(called) == 2 * cost_probe.WARM_UP + 4 * 14  # 8 seconds a round, and 50 once


@pytest.mark.parametrize(
    ("splits", "images"),
    [({"test": 10_000}, 1_000), ({"test": 10_000, "val": 500}, 500)],
)
def test_a_mini_batch_larger_than_the_sample_is_refused(splits, images):
    words = ["experiment=mnist/bn", "train.probes=[cost]"]
    fits, larger = (compose([*words, f"train.batch_size={images + k}"]) for k in (0, 1))
    probes.check(fits, nn.Module(), splits, World())
    with pytest.raises(ValueError, match=rf"cost sees {images} images, .*batch_size={images + 1};"):
        probes.check(larger, nn.Module(), splits, World())
