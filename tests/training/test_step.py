"""Engines: however a step is run, the same gradients; what they need is asked for in a line."""

import copy
import json
import math
import threading
import time
from functools import partial

import pytest
import torch
from resumed import rows
from torch import nn
from torch.nn import functional as F
from training.samples import as_a_graph, graphed

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception, InceptionModule
from bn_repro.models.mlp import MLP
from bn_repro.models.units import Unit
from bn_repro.records import paths
from bn_repro.training.eager import gradients
from bn_repro.training.graphed import Graphed, cuda_graph
from bn_repro.training.loop import dropout_seed
from bn_repro.training.optimizer import DelayedSGD
from bn_repro.training.run import run
from bn_repro.training.step import ENGINES


def mlp(dropout=0.5):
    generator = torch.Generator().manual_seed(0)
    return MLP(norm=norm.batch(), generator=generator, init_std=0.1, dropout=dropout)


def inception():
    generator = torch.Generator().manual_seed(0)
    shape = Shape(classes=5, width=0.125, image_size=32, auxiliary=True, dropout=0.4)
    model = Inception(shape, norm=norm.batch(), generator=generator)
    return model.to(memory_format=torch.channels_last)


def steps(model, engine_of, batches, device="cpu", precision="float32", traced=(6,)):
    """Train on ``batches`` by an engine, but eagerly where a step is ``traced``."""
    model = model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine, losses = engine_of(model, optimizer, precision), []
    for step, (x, y) in enumerate(batches, start=1):
        torch.manual_seed(dropout_seed(0, step, 0))
        if step in traced:
            loss, logits = gradients(model, x, y, optimizer, precision)
            optimizer.step()
        else:
            loss, logits = engine(x, y)
        assert len(logits) == len(x)
        losses.append(loss)
    return torch.stack(losses), model.state_dict()


def drawn(shape, classes, sizes, device="cpu"):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn((n, *shape), generator=generator).to(device),
            torch.randint(classes, (n,), generator=generator).to(device),
        )
        for n in sizes
    ]


@pytest.mark.parametrize(
    ("make", "batches"),
    [
        (mlp, drawn((784,), 10, [12] * 7 + [6] + [12] * 3)),  # one of another size among them
        (inception, drawn((3, 32, 32), 5, [4] * 8)),
    ],
)
def test_a_replayed_step_trains_as_an_eager_one(make, batches):
    expected = steps(make(), ENGINES["eager"], batches)
    torch.testing.assert_close(steps(make(), graphed, batches), expected, rtol=0, atol=0)


def test_gradients_in_a_graphs_own_memory_can_wait():
    ends = []
    for engine_of in (ENGINES["eager"], graphed):
        model = mlp(dropout=0.0)
        optimizer = DelayedSGD(model.parameters(), delay=2, lr=0.1, momentum=0.9)
        engine = engine_of(model, optimizer, "float32")
        for step, (x, y) in enumerate(drawn((784,), 10, [12] * 9), start=1):
            if step == 7:  # a traced step
                gradients(model, x, y, optimizer)
                optimizer.step()
            else:
                engine(x, y)
        ends.append(model.state_dict())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def unit_by_unit(model, x):
    """Inception as Figure 5 draws it: each unit its own convolution, and nothing overwritten."""

    def unit(module, u):
        if not isinstance(module, Unit):
            return module(u)
        assert isinstance(module.linear, nn.Conv2d)
        x = nn.Conv2d.forward(module.linear, u)
        return module.nonlinearity(module.norm(x))

    for layer in model.trunk:
        if isinstance(layer, InceptionModule):
            outputs = []
            for branch in layer.branches:
                outputs.append(x)
                for name in branch:
                    outputs[-1] = unit(layer[name], outputs[-1])
            x = torch.cat(outputs, dim=1)
        else:
            x = unit(layer, x)
    return model.classifier(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("small", [0, math.inf])
@pytest.mark.parametrize("nonlinearity", [nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize("normalization", [norm.none(), norm.batch()], ids=["none", "batch"])
def test_inception_trains_as_it_is_drawn(monkeypatch, normalization, nonlinearity, small):
    """Whether 1x1 convolutions are done as convolutions or as products of matrices."""
    monkeypatch.setattr("bn_repro.models.units.SMALL", small)
    ours = Inception(
        Shape(classes=5, width=0.125, modules=("3a", "3c", "5b")),
        norm=normalization,
        nonlinearity=nonlinearity,
        generator=torch.Generator().manual_seed(0),
    )
    ours = ours.double().to(memory_format=torch.channels_last)
    figure = copy.deepcopy(ours)
    ways = [(ours, ours), (figure, partial(unit_by_unit, figure))]
    batches, found = drawn((3, 32, 32), 5, [8, 6, 8]), []
    for model, forward in ways:
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
        for x, y in batches:
            optimizer.zero_grad()
            losses.append(F.cross_entropy(forward(x.double()), y))
            losses[-1].backward()
            optimizer.step()
        found.append((torch.stack(losses), model.state_dict()))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_a_step_is_recorded_once_after_the_first_ones():
    model, recorded = mlp(), []

    def capture(work):
        recorded.append(1)
        return as_a_graph(model)(work)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = Graphed(model, optimizer, "float32", capture)
    counts = []
    for x, y in drawn((784,), 10, [8] * 6):
        engine(x, y)
        counts.append(len(recorded))
    assert counts == [0, 0, 0, 1, 1, 1]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("make", "shape", "classes"), [(mlp, (784,), 10), (inception, (3, 32, 32), 5)]
)
def test_a_cuda_graph_trains_as_the_eager_step(make, shape, classes, precision):
    batches = drawn(shape, classes, [16] * 8, "cuda")  # of more, what rounding makes would grow
    # Without TF32, as a run has it, and without sums in any order.
    with torch.backends.cudnn.flags(True, benchmark=False, deterministic=True, allow_tf32=False):
        expected = steps(make(), ENGINES["eager"], batches, "cuda", precision)
        found = steps(make(), ENGINES["graphed"], batches, "cuda", precision)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_a_cuda_graph_is_recorded_without_being_done():
    total = torch.zeros((), device="cuda")
    _, again = cuda_graph(lambda: total.add_(1))
    assert total == 0
    again()
    again()
    assert total == 2


@pytest.mark.gpu
def test_a_cuda_graph_is_recorded_while_another_thread_pins_memory():
    """As a DataLoader's does, at any time."""
    over, pinned = threading.Event(), []

    def pin():
        while not over.is_set():
            pinned.append(torch.empty(len(pinned) % 64 + 1, 2**12).pin_memory().is_pinned())

    def work():
        before = len(pinned)
        total.add_(1)
        while len(pinned) < before + 64 and thread.is_alive():
            time.sleep(0.001)

    total = torch.zeros((), device="cuda")
    thread = threading.Thread(target=pin)
    thread.start()
    try:
        _, again = cuda_graph(work)
        again()
    finally:
        over.set()
        thread.join()
    assert total == 1
    assert len(pinned) >= 64
    assert all(pinned)


SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=8", "train.eval_every=4"]
SMOKE += ["train.population_batches=2", "data.limit=600"]


def test_a_compiled_run_has_the_records_of_an_eager_one(tmp_path, monkeypatch):
    """Its graphs are torch.compile's; run as they are, for a compiler takes a minute."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiler(model, backend="eager"))
    found = {}
    for engine in ("eager", "compiled"):
        config = compose([*SMOKE, f"train.engine={engine}", f"runs={tmp_path / engine}"])
        assert run(config, log=lambda line: None).state == "completed"
        directory = directory_of(config)
        assert json.loads((directory / paths.MANIFEST).read_text())["engine"] == engine
        found[engine] = directory.name, rows(directory)
    assert found["compiled"] == found["eager"]


def test_what_an_engine_needs_is_told(tmp_path):
    config = compose([*SMOKE, "train.engine=graphed", "device=cpu", f"runs={tmp_path}"])
    with pytest.raises(ValueError, match=r"^train\.engine: 'graphed' is for a GPU and one rank"):
        run(config, log=lambda line: None)
    with pytest.raises(ValueError, match=r"^train\.engine: 'fast' is not one of auto, by_hand"):
        compose([*SMOKE, "train.engine=fast"])
    assert not list(tmp_path.rglob(paths.STATUS))
