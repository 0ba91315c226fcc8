"""The probe of domain adaptation, against Algorithm 2 by hand on images altered by hand."""

import copy

import pytest
import torch
from resumed import rows
from training.samples import sample_of

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of, run_id
from bn_repro.models.mlp import MLP
from bn_repro.records import paths
from bn_repro.training import adaptation_probe, probes
from bn_repro.training.evaluate import evaluate
from bn_repro.training.run import run

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=20", "train.trace_every=20"]
SMOKE += ["train.trace_dense=0", "train.population_batches=100"]
PROBED = "train.probes=[adaptation]"


@pytest.fixture
def drawn():
    return torch.Generator().manual_seed(0)


def network(kind, drawn):
    made = MLP(norm=kind, generator=drawn, widths=[20, 7, 5, 10], init_std=0.5).train()
    made(torch.rand(60, 20, generator=drawn))  # moving averages that are not the first ones
    return made


def measured(model, batch, training):
    """The rows by statistics, distribution and strength; the network is as it was."""
    before, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    rows = probes.measure(["adaptation"], 3, model, sample_of(batch, training))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    return {(r["statistics"], r["distribution"], r["strength"]): r for r in rows}


def test_new_statistics_are_those_of_altered_training_images(drawn):
    model = network(norm.batch(), drawn)
    x, *training = (torch.rand(n, 20, generator=drawn) ** 3 for n in (150, 60, 60, 60, 60))  # dark
    y = torch.randint(10, (150,), generator=drawn)
    rows = measured(model, (x, y), training)
    new = sum(map(len, adaptation_probe.STRENGTHS.values()))
    assert len(rows) == 2 * new - 1

    norm.estimate_population_statistics(model, training)
    for name, images in (("unaltered", x), ("inverted", 1 - x)):
        expected = evaluate(model, [(images, y)])
        row = rows["original", name, adaptation_probe.STRENGTHS[name][0]]
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert row["top1"] == expected["top1"]
    norm.estimate_population_statistics(model, [1 - seen for seen in training])
    row, expected = rows["altered", "inverted", 1.0], evaluate(model, [(1 - x, y)])
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    usual = rows["original", "unaltered", 0.0]["loss"]
    assert rows["altered", "contrast", 0.5]["loss"] == pytest.approx(usual, rel=1e-3)
    assert rows["original", "contrast", 0.5]["loss"] != pytest.approx(usual, rel=1e-3)
    assert row["loss"] != pytest.approx(rows["original", "inverted", 1.0]["loss"], rel=1e-3)


@pytest.mark.parametrize("kind", [norm.none(), norm.layer()])
def test_without_bn_there_is_nothing_to_estimate(kind, drawn):
    model = network(kind, drawn)
    batch = torch.rand(50, 20, generator=drawn), torch.randint(10, (50,), generator=drawn)
    rows = measured(model, batch, [torch.rand(60, 20, generator=drawn)])
    assert {statistics for statistics, *_ in rows} == {"none"}
    expected = evaluate(model, [(1 - batch[0], batch[1])])
    assert rows["none", "inverted", 1.0]["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("words", [[], ["experiment=mnist/baseline"]])
def test_a_run_is_the_same_with_it(words, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation_probe, "STRENGTHS", {"unaltered": (0.0,), "inverted": (1.0,)})
    usual = [*SMOKE, *words]
    assert run_id(compose([*usual, PROBED])) == run_id(compose(usual))
    found = []
    for name, more in (("plain", []), ("probed", [PROBED])):
        config = compose([*usual, f"runs={tmp_path / name}", *more])
        run(config, log=lambda line: None)
        found.append(directory_of(config))
    plain, probed = found
    for name in (paths.METRICS, paths.TRACES):
        assert (plain / name).read_bytes() == (probed / name).read_bytes(), name
    told = rows(probed, paths.PROBES)
    assert {row["step"] for row in told} == {20}
    if not words:  # the run's own evaluation by Algorithm 2
        (by_run,) = (r for r in rows(probed) if r["statistics"] == "population")
        assert told[0]["loss"] == by_run["loss"]
