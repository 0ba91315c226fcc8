"""``model.norm``: the norms of the library, and one of the user's own, in a run."""

from __future__ import annotations

import pytest
import torch
from support import call

from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.training.build import build, network, validate
from bn_repro.training.multi_crop import statistics_of
from bn_repro.training.optimizer import sgd
from bn_repro.training.world import World

OWN = """
from torch import nn

from bn_repro import norm


class Half(nn.Module):
    def forward(self, x):
        return x / 2


def half(eps, momentum):
    return norm.Norm(lambda *shape: Half(), lambda *shape: Half(), lambda *shape: Half(), bias=True)


def number(eps, momentum):
    return 3


def short(eps):
    return norm.none()


def wide(eps, momentum):
    return norm.Norm(lambda width: nn.LayerNorm(width + 1), nn.Identity, nn.Identity, bias=True)


def broken(eps, momentum):
    return norm.Norm(None, None, None, bias=True)


value = 3
"""
MNIST = ["experiment=mnist/bn", "scale=smoke"]
INCEPTION = ["experiment=imagenet/bn_x5", "scale=smoke", "data.image_size=64"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the user's module, where commands are started; its runs are in it too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    (tmp_path / "mine_in_test.py").write_text(OWN)
    (tmp_path / "torn_in_test.py").write_text("import no_such_thing\n")
    return tmp_path


def test_a_norm_of_ones_own_trains_and_its_import_path_is_its_identity(mine, monkeypatch, capsys):
    words = [*MNIST, "train.steps=5", f"runs={mine}", "model.norm=mine_in_test:half"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, "completed at step 5" in out + err) == (0, True), out + err
    own = compose(words)
    assert (mine / "mnist" / f"bn-{run_id(own)}").is_dir()
    assert run_id(own) != run_id(compose([*words[:-1], "model.norm=mine_in_test:other"]))
    model, _ = build(own)
    assert type(model.get_submodule("layers.hidden1.norm")).__name__ == "Half"
    assert isinstance(model.get_submodule("layers.hidden1.linear").bias, torch.Tensor)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_package.module:norm", "cannot be imported (ModuleNotFoundError: No module named"),
        (
            "torn_in_test:norm",
            "cannot be imported (ModuleNotFoundError: No module named 'no_such",
        ),
        (
            "mine_in_test:absent",
            "cannot be imported (AttributeError: module 'mine_in_test' has",
        ),
        (
            "mine_in_test:value",
            "is no factory of norms (TypeError: 'int' object is not callable)",
        ),
        ("mine_in_test:number", "is no factory of norms (it gives int); it must take eps and"),
        ("mine_in_test:short", "is no factory of norms (TypeError: short() got an unexpected"),
        ("mine_in_test:broken", "fails (TypeError: 'NoneType' object is not callable)"),
        ("mine_in_test:wide", "fails (RuntimeError: Given normalized_shape=[101]"),
    ],
)
def test_what_is_no_norm_is_refused_in_one_line(mine, monkeypatch, capsys, path, said):
    code, _, err = call(monkeypatch, capsys, *MNIST, f"runs={mine}", f"model.norm={path}")
    assert code == 2
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: model.norm: {path} {said}")
    assert "Traceback" not in err


@pytest.mark.parametrize("path", ["mine", "mine:", ":norm", "a..b:norm", "a:c.d", "1a:b", "a b:c"])
def test_what_is_no_path_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"^model.norm: .* or package.module:factory"):
        compose([*MNIST, f"model.norm='{path}'"])


@pytest.mark.parametrize("norm", ["layer", "group", "instance", "weight"])
@pytest.mark.parametrize("words", [MNIST, INCEPTION], ids=["mlp", "inception"])
def test_a_step_with_each_norm_beside_bn(words, norm):
    """Weight decay acts on each weight matrix, or on the length that weight normalization gives it;
    there is nothing to estimate for inference."""
    config = compose(
        [
            *words,
            f"model.norm={norm}",
            "optimizer.weight_decay=0.1",
            "evaluation.statistics=population",
        ]
    )
    model, data = build(config)
    validate(config, model, data, World())
    optimizer = sgd(model, config)
    decayed, others = (group["params"] for group in optimizer.param_groups)
    assert len(decayed) + len(others) == len(list(model.parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ends = ("classifier.weight", ".original0") if norm == "weight" else (".weight",)
    assert all(names[id(p)].endswith(ends) for p in decayed)
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert len(decayed) == len(layers)
    x, y = next(iter(data.train_batches(seed=0, first_step=1, steps=1, batch_size=4)))
    torch.nn.functional.cross_entropy(model.train()(x), y).backward()
    optimizer.step()
    assert statistics_of(config) == "moving"


@pytest.mark.parametrize("norm", ["batch", "layer", "mine_in_test:half"])
@pytest.mark.parametrize("at", ["before", "after", "input"])
def test_a_norm_stands_where_it_is_said_to(mine, norm, at):
    """Only before the nonlinearity does the layer go without its b, and only with our norms."""
    model, _ = build(compose([*MNIST, f"model.norm={norm}", f"model.norm_at={at}"]))
    layer = model.get_submodule("layers.hidden1")
    names = [name for name, _ in layer.named_children()]
    assert names.index("norm") == {"input": 0, "before": 1, "after": 2}[at]
    has_bias = layer.get_submodule("linear").bias is not None
    assert has_bias == (at != "before" or norm.startswith("mine"))


def test_inception_with_bn_after_its_nonlinearity_has_initial_biases():
    """Beside BN before it they have no effect and are refused."""
    model, _ = build(compose([*INCEPTION, "model.norm_at=after", "model.init_bias=0.2"]))
    bias = model.get_submodule("trunk.conv1.linear").bias
    assert isinstance(bias, torch.Tensor)
    assert torch.equal(bias, torch.full_like(bias, 0.2))
    with pytest.raises(ValueError, match=r"^model.init_bias: has no effect"):
        compose([*INCEPTION, "model.init_bias=0.2"])


def test_probes_of_a_layers_weights_are_for_a_norm_before_the_nonlinearity():
    config = compose([*MNIST, "model.norm_at=after", "train.probes=[activations,scale,weights]"])
    model, data = build(config)
    with pytest.raises(ValueError, match=r"^train.probes: for scale, weights .* 'after'; leave"):
        validate(config, model, data, World())


def test_maps_of_one_pixel_have_no_instance_to_normalize():
    config = compose([*INCEPTION, "model.norm=instance", "data.image_size=32"])
    model, data = build(config)
    with pytest.raises(ValueError, match="^model.norm: InstanceNorm.*fewer than 2 values per stat"):
        validate(config, model, data, World())


def test_epsilon_may_be_0():
    """Then BN((aW)u) is BN(Wu), to rounding (sec. 3.3)."""
    config = compose([*MNIST, "model.norm_eps=0"])
    model, data = build(config)
    x, _ = next(iter(data.train_batches(seed=0, first_step=1, steps=1, batch_size=60)))
    expected = model.train()(x)
    with torch.no_grad():
        model.get_parameter("layers.hidden1.linear.weight").mul_(1e-3)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    usual = network(compose(MNIST), data).train()
    with torch.no_grad():
        usual.get_parameter("layers.hidden1.linear.weight").mul_(1e-3)
    assert not torch.allclose(usual(x), expected, rtol=1e-4, atol=1e-5)
