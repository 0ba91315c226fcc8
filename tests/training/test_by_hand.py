"""The step by hand trains as autograd does, and as section 3 has it written out."""

import copy
import json
from itertools import product

import numpy as np
import pytest
import torch
from resumed import rows, stopped
from torch import nn

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.models.mlp import MLP
from bn_repro.norm import batch_norm_backward, batch_norm_forward
from bn_repro.records import paths
from bn_repro.records.histograms import read_histograms
from bn_repro.training.by_hand import BN, ByHand
from bn_repro.training.checkpoint import load_latest
from bn_repro.training.engine import with_engine
from bn_repro.training.loop import dropout_seed
from bn_repro.training.run import run
from bn_repro.training.step import ENGINES
from bn_repro.training.world import World


def mlp(normalization="batch", nonlinearity: type[nn.Module] = nn.Sigmoid, depth=3, dropout=0.0):
    return MLP(
        norm=getattr(norm, normalization)(),
        generator=torch.Generator().manual_seed(0),
        widths=(20, *(12, 9, 15)[:depth], 5),
        nonlinearity=nonlinearity,
        init_std=0.5,
        dropout=dropout,
    )


def drawn(steps, dtype):
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        m = 7 if step == 3 else 16  # one of another size among them
        yield (
            torch.randn(m, 20, generator=generator, dtype=dtype),
            torch.randint(5, (m,), generator=generator),
        )


def autograd(model, optimizer, precision):
    """The engine ``eager``, all of it in the model's dtype."""

    def step(x, y):
        optimizer.zero_grad()
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        return loss.detach(), logits.detach()

    return step


def trained(engine_of, model, steps, dtype, autograd_at=()):
    """Losses, last logits and weights after ``steps`` of a falling rate."""
    model = copy.deepcopy(model).to(dtype).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    usual, other = (make(model, optimizer, "float32") for make in (engine_of, autograd))
    losses, logits = [], torch.empty(0)
    for step, (x, y) in enumerate(drawn(steps, dtype)):
        torch.manual_seed(dropout_seed(0, step, 0))
        optimizer.param_groups[0]["lr"] = 0.5 / (1 + step / steps)
        loss, logits = (other if step in autograd_at else usual)(x, y)
        losses.append(loss)
    return torch.stack(losses), logits, model.state_dict()


KINDS = list(product((nn.Sigmoid, nn.Tanh, nn.ReLU), ("none", "batch"), (1, 3), (0.0, 0.4)))


@pytest.mark.parametrize(("nonlinearity", "normalization", "depth", "dropout"), KINDS)
def test_it_is_autograd_to_the_last_digits(nonlinearity, normalization, depth, dropout):
    model = mlp(normalization, nonlinearity, depth, dropout)
    expected = trained(autograd, model, 20, torch.float64)
    found = trained(ByHand, model, 20, torch.float64, autograd_at=(2, 9))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert not torch.equal(found[2]["classifier.weight"], model.classifier.weight.double())


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_traces_are_of_the_steps_own_inputs_and_gradients(normalization, dropout):
    model = mlp(normalization, nn.Tanh, dropout=dropout).train()
    x, y = next(drawn(1, torch.float32))
    rows = []
    for name in ("eager", "by_hand"):
        own = copy.deepcopy(model)
        optimizer = torch.optim.SGD(own.parameters(), lr=0.5)
        torch.manual_seed(0)
        sites = {site: own.sites()[site] for site in ("hidden1", "hidden3")}
        *_, activations = ENGINES[name](own, optimizer, "float32").traced(sites, x, y)
        rows.append(activations.rows(5))
    expected, found = rows
    assert len(found) == len(expected) == 4
    for mine, its in zip(found, expected, strict=True):
        assert (mine.pop("site"), mine.pop("unit")) == (its.pop("site"), its.pop("unit"))
        assert mine == pytest.approx(its, rel=1e-4, abs=1e-6)
        assert mine["grad_norm"] > 0


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_five_hundred_steps_of_float32_stay_beside_autograd(normalization):
    model = mlp(normalization, dropout=0.2)
    expected = trained(ENGINES["eager"], model, 500, torch.float32)
    found = trained(ENGINES["by_hand"], model, 500, torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_bn_is_section_3_written_out():
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(30, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    layer = norm.BatchNormPerActivation(6).double()
    layer.weight.data.uniform_(0.5, 2, generator=generator)
    layer.bias.data.normal_(generator=generator)
    gamma, beta = layer.weight.detach(), layer.bias.detach()
    y, mu, var = batch_norm_forward(x, gamma[None], beta[None], layer.eps, (0,))
    dx, dgamma, dbeta = batch_norm_backward(dy, x, gamma[None], mu, var, layer.eps, (0,))

    bn = BN(layer, 30)
    found = bn.forward(x).clone(), bn.backward(dy), bn.dgamma, bn.dbeta
    torch.testing.assert_close(found, (y, dx, dgamma[0], dbeta[0]), rtol=0, atol=1e-12)


SMOKE = [
    "experiment=mnist/bn",
    "scale=smoke",
    "train.steps=40",
    "train.eval_every=10",
    "device=cpu",
]
SMOKE += [
    "train.population_batches=2",
    "data.limit=600",
    "train.engine=by_hand",
    "model.dropout=0.1",
]


def finished(tmp_path, *overrides, stops=()):
    """The directory of a run that was stopped after these steps, and resumed."""
    config = compose([*SMOKE, *overrides, f"runs={tmp_path}"])
    for at in stops:
        outcome = stopped(config, at)
        assert (outcome.state, outcome.step) == ("preempted", at)
    assert run(config, log=lambda line: None).state == "completed"
    return directory_of(config)


def records(directory):
    names = (paths.METRICS, paths.TRACES, paths.HISTOGRAMS)
    return [(directory / name).read_bytes() for name in names]


def numbers(directory, name):
    return [
        {key: v for key, v in row.items() if isinstance(v, int | float)}
        for row in rows(directory, name)
    ]


def state(directory):
    saved = load_latest(directory / paths.CHECKPOINTS)
    assert saved is not None
    return saved["model"]


def test_a_resumed_run_is_the_uninterrupted_one_byte_for_byte(tmp_path):
    whole, cut = finished(tmp_path / "whole"), finished(tmp_path / "cut", stops=(10, 30))
    assert records(cut) == records(whole)
    torch.testing.assert_close(state(cut), state(whole), rtol=0, atol=0)


def test_a_run_has_the_records_of_an_eager_one_to_the_last_digits(tmp_path):
    found = finished(tmp_path / "by_hand")
    expected = finished(tmp_path / "eager", "train.engine=eager")
    assert found.name == expected.name
    assert json.loads((found / paths.MANIFEST).read_text())["engine"] == "by_hand"
    for name in (paths.METRICS, paths.TRACES):
        for mine, its in zip(numbers(found, name), numbers(expected, name), strict=True):
            assert mine == pytest.approx(its, rel=1e-3, abs=1e-5)
    mine, its = (np.array([r["counts"] for r in read_histograms(d)]) for d in (found, expected))
    assert mine.shape == its.shape
    assert np.abs(mine - its).sum(axis=1).max() <= 4  # of 6,000: values at the very ends of bins
    assert records(found) != records(expected)  # it was another engine
    assert state(found)["layers.hidden1.norm.num_batches_tracked"] == 40


def test_traces_change_no_number(tmp_path):
    some = finished(tmp_path / "some", "train.trace_dense=0", "train.trace_every=7")
    expected = finished(tmp_path / "many")
    assert records(some)[0] == records(expected)[0]
    assert records(some)[1] != records(expected)[1]
    torch.testing.assert_close(state(some), state(expected), rtol=0, atol=0)


def refused(*overrides, device="cpu", world=None):
    with pytest.raises(ValueError, match=r"^train\.engine: 'by_hand' is for mlp") as error:
        with_engine(compose([*SMOKE, *overrides]), device, world or World())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_where_it_does_not_serve_it_is_refused_in_a_line():
    for other in ("sync_batch", "layer", "group", "instance", "weight", "mine:norm"):
        assert f"model.norm={other};" in refused(f"model.norm={other}")
    assert "model.norm_at=after;" in refused("model.norm_at=after")
    assert "train.precision=bfloat16;" in refused("train.precision=bfloat16")
    assert "train.polyak=0.01;" in refused("train.polyak=0.01")
    assert "optimizer.momentum=0.9, optimizer.weight_decay=0.001;" in refused(
        "optimizer.momentum=0.9", "optimizer.weight_decay=0.001"
    )
    assert "optimizer.delay=2;" in refused("optimizer.delay=2")
    assert "ranks=2;" in refused(world=World(rank=0, size=2))
    assert "device=cuda; use train.engine=auto" in refused(device="cuda")
    inception = ["experiment=imagenet/bn_x5", "data=synthetic", "scale=smoke"]
    with pytest.raises(ValueError, match=r"here is model\.name=inception, "):
        with_engine(compose([*inception, "train.engine=by_hand"]), "cpu", World())


def test_auto_takes_it_where_it_serves():
    def engine(*overrides, device="cpu", world=None):
        auto = compose([*SMOKE, "train.engine=auto", *overrides])
        return with_engine(auto, device, world or World()).train.engine

    assert compose(SMOKE[:1]).train.engine == "auto"
    assert engine() == engine("model.norm=none", "experiment=mnist/baseline") == "by_hand"
    assert engine("model.norm_at=input") == "eager"
    assert engine("model.norm=sync_batch") == engine("optimizer.momentum=0.9") == "eager"
    assert engine(device="cuda") == engine(world=World(rank=0, size=2)) == "eager"


@pytest.fixture
def begun(tmp_path):
    """The words of a run that was begun with an engine, and stopped."""

    def begin(engine):
        words = [*SMOKE, f"train.engine={engine}", f"runs={tmp_path / engine}"]
        stopped(compose(words), 1)
        return words

    return begin


@pytest.mark.parametrize(("engine", "other"), [("eager", "by_hand"), ("by_hand", "eager")])
def test_a_run_goes_on_with_its_own_engine_alone(begun, tmp_path, engine, other):
    words = begun(engine)
    with pytest.raises(ValueError, match=r"^train\.engine: .*train\.engine=") as error:
        run(compose([*words, f"train.engine={other}"]), log=lambda line: None)
    said = str(error.value)
    assert f"was begun with {engine}, not with {other}" in said
    assert said.endswith(f"give train.engine={engine}, or start over with force=true")
    assert run(compose([*words, "train.engine=auto"]), log=lambda line: None).state == "completed"
    directory = directory_of(compose(words))
    assert records(directory) == records(finished(tmp_path / "whole", f"train.engine={engine}"))
    asked = compose([*words, f"train.engine={other}"])
    assert run(asked, log=lambda line: None).step == 40  # it is finished: none takes a step
    anew = run(compose([*words, f"train.engine={other}", "force=true"]), log=lambda line: None)
    assert anew.state == "completed"
    assert json.loads((directory / paths.MANIFEST).read_text())["engine"] == other


def test_a_run_goes_on_with_its_own_threads_alone(begun):
    words = begun("eager")
    with pytest.raises(ValueError, match=r"^threads: .* with 1, not with 2.*give threads=1, or"):
        run(compose([*words, "threads=2"]), log=lambda line: None)


def test_a_run_of_by_hand_does_not_go_on_elsewhere(begun):
    auto = compose([*begun("by_hand"), "train.engine=auto"])
    with pytest.raises(ValueError, match=r"here is device=cuda; start over with force=true$"):
        with_engine(auto, "cuda", World())


def test_a_run_of_an_older_version_goes_on_eagerly(begun):
    config = compose([*begun("eager"), "train.engine=auto"])
    path = directory_of(config) / paths.MANIFEST
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("engine", "threads")}
    path.write_text(json.dumps(old))
    assert with_engine(config, "cpu", World()).train.engine == "eager"
