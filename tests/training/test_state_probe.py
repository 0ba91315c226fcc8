"""The probe of gradients in time, against autograd by hand, and a whole run that has it."""

import copy

import pytest
import torch
from resumed import config_of, silent
from torch.nn.functional import cross_entropy
from training.samples import sample_of

from bn_repro import norm
from bn_repro.config.identity import directory_of
from bn_repro.models.recurrent import Recurrent, Shape
from bn_repro.training import probes
from bn_repro.training.run import run
from bn_repro.training.weights import export, load

SHAPE = Shape(steps=4, pixels=3, units=5, classes=3, dropout=0.5)
SMOKE = ["scale=smoke", "train.steps=4", "train.population_batches=2", "model.name=recurrent"]


@pytest.mark.parametrize("kind", ["batch", "none"])
def test_it_is_the_gradient_of_each_state_and_the_network_stays_as_it_was(kind):
    generator = torch.Generator().manual_seed(0)
    how = {"norm": getattr(norm, kind)(), "generator": generator, "init_std": 0.7}
    model = Recurrent(SHAPE, **how).train()
    x, y = torch.randn(20, 12, generator=generator), torch.arange(20) % 3
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    rows = probes.measure(["state_gradients"], 3, model, sample_of((x, y)))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())

    wide = copy.deepcopy(model).double()
    W_x, b = wide.inputs.weight, wide.inputs.bias
    states, h = [], torch.zeros(20, 5, dtype=torch.float64)
    for t in range(4):
        z = x[:, 3 * t : 3 * t + 3].double() @ W_x.T + h @ wide.recurrence.weight.T
        z = z + b if b is not None else (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
        h = torch.tanh(z)
        states.append(h)
    gradients = torch.autograd.grad(cross_entropy(wide.classifier(h), y), states)
    expected = [g.norm(dim=1).mean().item() for g in gradients]
    assert [row["t"] for row in rows] == [1, 2, 3, 4]
    assert [row["gradient"] for row in rows] == pytest.approx(expected)
    assert [row["relative"] for row in rows] == pytest.approx([n / expected[-1] for n in expected])
    assert {(row["step"], row["probe"]) for row in rows} == {(3, "state_gradients")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train.probes=[state_gradients]", "model.name=mlp"],
            "state_gradients: not for model.name='mlp'",
        ),
        (["train.probes=[scale,shift]"], "scale, shift: not for model.name='recurrent'"),
    ],
)
def test_a_probe_of_another_network_is_refused_in_a_line(words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(config_of(tmp_path, *SMOKE, *words), log=silent)


def test_a_run_leaves_its_rows_and_a_network_that_can_be_exported(tmp_path):
    probed = ["train.probes=[state_gradients,activations]", "model.statistics=per_step"]
    config = config_of(tmp_path, *SMOKE, *probed, "model.units=6", "model.order=permuted")
    assert run(config, log=silent).state == "completed"
    directory = directory_of(config)
    assert '"probe": "state_gradients", "t": 28' in (directory / "probes.jsonl").read_text()
    export(directory, tmp_path / "one.safetensors")
    one, other = load(directory).network, load(tmp_path / "one.safetensors").network
    x = torch.rand(3, 784, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), other(x))
    assert isinstance(other, Recurrent)
    assert other.norms[0].weight is other.norms[27].weight
    text = (tmp_path / "one.md").read_text()
    assert "A recurrent network (sec. 5) trained for 4 steps" in text
