"""The probe of what BN normalizes by at inference, against Algorithm 2 and a run's own numbers."""

import copy
from itertools import pairwise

import pytest
import torch
from resumed import rows as rows_of
from torch import nn
from training.samples import SMOKE, sample_of, train

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.models.mlp import MLP
from bn_repro.norm import BatchNorm
from bn_repro.records import paths
from bn_repro.training import probes, statistics_probe
from bn_repro.training.evaluate import evaluate

PROBED = "train.probes=[statistics]"


@pytest.fixture
def drawn():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model(drawn):
    made = MLP(norm=norm.batch(), generator=drawn, widths=[20, 7, 5, 10], init_std=0.5).train()
    for layer in made.modules():
        if isinstance(layer, BatchNorm):  # gradients there, as in training, and other averages
            layer.weight.grad = torch.ones_like(layer.weight)
    made(torch.randn(60, 20, generator=drawn))
    return made


def test_each_kind_is_what_it_says_and_the_network_stays_as_it_was(model, drawn, monkeypatch):
    monkeypatch.setattr(statistics_probe, "COUNTS", (1, 3, 10))
    monkeypatch.setattr(statistics_probe, "LARGE_BATCH", 100)
    x, y = torch.randn(150, 20, generator=drawn), torch.randint(10, (150,), generator=drawn)
    training = [torch.randn(60, 20, generator=drawn) for _ in range(5)]
    before, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    seen = sample_of((x, y), training)
    rows = probes.measure(["statistics"], 3, model, seen)

    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    grads = [m.weight.grad for m in model.modules() if isinstance(m, BatchNorm)]
    assert all(bool((grad == 1).all()) for grad in grads)

    kinds = [(r["statistics"], r.get("examples"), r.get("mini_batches")) for r in rows]
    assert kinds == [
        ("batch", 60, None),
        ("batch", 100, None),
        ("moving", None, None),
        ("population", None, 1),
        ("population", None, 3),  # ten are more than an epoch has
    ]
    with torch.no_grad():
        parts = [model(x[:60]), model(x[60:120]), model(x[90:])[-30:]]  # the last is filled up
    logits = torch.cat(parts)
    model.load_state_dict(before)
    own = nn.functional.cross_entropy(logits, y).item()
    assert rows[0]["loss"] == pytest.approx(own)
    assert rows[0]["top1"] == pytest.approx((logits.argmax(1) == y).double().mean().item())
    moving = evaluate(model, [(x, y)])
    assert (rows[2]["loss"], rows[2]["top1"]) == pytest.approx((moving["loss"], moving["top1"]))
    norm.estimate_population_statistics(model, training[:3])
    assert rows[4]["loss"] == pytest.approx(evaluate(model, [(x, y)])["loss"])
    assert len({row["loss"] for row in rows}) == 5


def test_a_run_is_the_same_with_it_and_its_numbers_are_the_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics_probe, "COUNTS", (1, 10))
    assert run_id(compose([*SMOKE, PROBED])) == run_id(compose(SMOKE))
    plain, probed = train(tmp_path / "plain"), train(tmp_path / "probed", PROBED)
    for name in (paths.METRICS, paths.TRACES):
        assert (plain / name).read_bytes() == (probed / name).read_bytes(), name
    train(tmp_path / "stopped", PROBED, stop_at=30)
    stopped = train(tmp_path / "stopped", PROBED)
    assert (stopped / paths.PROBES).read_bytes() == (probed / paths.PROBES).read_bytes()

    found = [r for r in rows_of(probed, paths.PROBES) if r["step"] == 60]
    evaluated = [r for r in rows_of(probed, paths.METRICS) if r["step"] == 60]
    for kind, keys in (("moving", {}), ("population", {"mini_batches": 10})):
        (by_run,) = (r for r in evaluated if r["statistics"] == kind)
        (by_probe,) = (r for r in found if {"statistics": kind, **keys}.items() <= r.items())
        near = 0 if kind == "moving" else 1e-6  # exact ones are put together from parts
        assert by_probe["loss"] == pytest.approx(by_run["loss"], rel=near, abs=0)
        assert by_probe["top1"] == by_run["top1"]


def test_the_rate_of_the_moving_averages_leaves_training_alone(tmp_path):
    momenta = (0.001, 0.1, 1.0)
    folders = [train(tmp_path / f"{m}", f"model.norm_momentum={m}") for m in momenta]
    kept = []
    for folder in folders:
        (last,) = (folder / paths.CHECKPOINTS).iterdir()
        weights = torch.load(next(last.glob("*.pt")) if last.is_dir() else last)["model"]
        kept.append({k: v for k, v in weights.items() if "running" not in k})
        assert any("running" in k for k in weights)
    for one, other in pairwise(kept):
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    measured = [rows_of(folder, paths.METRICS) for folder in folders]
    losses = [[r["loss"] for r in rows if r["split"] == "test"] for rows in measured]
    assert len({tuple(values) for values in losses}) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=mnist/baseline"], "statistics needs layers of BN, and model.norm=none"),
        (["model.norm=layer"], "statistics needs layers of BN, and model.norm=layer"),
    ],
)
def test_without_bn_it_is_refused_in_a_line(words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, PROBED, *words)
