"""Figure 5 as built: against the numbers of the paper and of PAPER.md, at 224 and at 64."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from bn_repro import norm
from bn_repro.config.network import MODULES
from bn_repro.models.inception import (
    FIGURE_5,
    Inception,
    InitialWeights,
    LocalResponseNorm,
    Shape,
    Unit,
)

PRINTED_CHANNELS = {
    "3a": 256,
    "3b": 320,
    "3c": 576,
    "4a": 576,
    "4b": 576,
    "4c": 576,
    "4d": 576,
    "4e": 1024,
    "5a": 1024,
    "5b": 1024,
}
PRINTED_BRANCHES = {  # 1x1; 3x3 and double 3x3 (reduction, then convolution); after the pool
    "3a": "64 | 64,64 | 64,96 | 32",
    "3b": "64 | 64,96 | 64,96 | 64",
    "3c": "- | 128,160 | 64,96 | -",
    "4a": "224 | 64,96 | 96,128 | 128",
    "4b": "192 | 96,128 | 96,128 | 128",
    "4c": "160 | 128,160 | 128,160 | 128",
    "4d": "96 | 128,192 | 160,192 | 128",
    "4e": "- | 128,192 | 192,256 | -",
    "5a": "352 | 192,320 | 160,224 | 128",
    "5b": "352 | 192,320 | 192,224 | 128",
}
STEM = {"conv1": 64, "pool1": 64, "conv2_reduce": 64, "conv2": 192, "pool2": 192}
SIDES = {  # conv1, pool1 to conv2, pool2 to 3b, 3c to 4d, 4e to 5b
    224: (112, 56, 28, 14, 7),
    64: (32, 16, 8, 4, 2),
    32: (16, 8, 4, 2, 1),
}


def network(**options: Any) -> Inception:
    """A small one, unless told otherwise."""
    seed = options.pop("seed", 0)
    options = {"classes": 7, "norm": norm.batch(), "width": 0.25, "image_size": 64} | options

    def part(kind: Any) -> Any:
        return kind(**{f.name: options.pop(f.name) for f in fields(kind) if f.name in options})

    shape, weights = part(Shape), part(InitialWeights)
    generator = torch.Generator().manual_seed(seed)
    return Inception(shape, weights=weights, generator=generator, **options)


def full_size(**options: Any) -> Inception:
    """The paper's size, without memory or arithmetic: on the meta device."""
    defaults = {"classes": 1000, "norm": norm.none(), "width": 1.0, "image_size": 224}
    with torch.device("meta"):
        return network(**(defaults | options))


def images(n: int = 4, side: int = 64) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def logits_of(model: Inception, x: Tensor) -> Tensor:
    logits = model(x)
    assert isinstance(logits, Tensor)
    return logits


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --- Figure 5 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pool_projection": 128}, 11_275_208),
        ({}, 11_185_032),
        ({"separable_stem": True}, 11_178_336),
        ({"auxiliary": True}, 13_601_520),
        ({"auxiliary": True, "separable_stem": True}, 13_594_824),
        ({"norm": norm.batch()}, 11_194_984),
        ({"norm": norm.batch(), "pool_projection": 128}, 11_285_224),
        ({"norm": norm.batch(), "separable_stem": True}, 11_188_288),
        ({"lrn": True, "dropout": 0.4, "nonlinearity": nn.Sigmoid}, 11_185_032),
    ],
)
def test_parameter_counts(options: dict[str, Any], expected: int) -> None:
    assert parameters(full_size(**options)) == expected


def test_branches_are_as_wide_as_printed() -> None:
    model = full_size(pool_projection=128)
    for name, printed in PRINTED_BRANCHES.items():
        module = model.trunk.get_submodule(name)

        def width(unit: str, module: nn.Module = module) -> str:
            parts = dict(module.named_modules())
            conv = parts.get(f"{unit}.linear")
            return str(conv.out_channels) if isinstance(conv, nn.Conv2d) else "-"

        assert width("double3x3_a") == width("double3x3_b")
        assert printed == (
            f"{width('1x1')} | {width('3x3_reduce')},{width('3x3')} | "
            f"{width('double3x3_reduce')},{width('double3x3_b')} | {width('pool_projection')}"
        )


def shapes(model: Inception, side: int) -> dict[str, tuple[int, ...]]:
    """Output (channels, height, width) of every layer of the trunk, in order."""
    seen: dict[str, tuple[int, ...]] = {}

    def look(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda layer, inputs, output: seen.update({name: tuple(output.shape[1:])})

    for name, layer in model.trunk.named_children():
        layer.register_forward_hook(look(name))
    device = next(model.parameters()).device
    assert logits_of(model.eval(), torch.zeros(2, 3, side, side, device=device)).shape[0] == 2
    return seen


def sides_of(image: int) -> list[int]:
    conv1, pool1, pool2, four, five = SIDES[image]
    return [conv1, *[pool1] * 3, *[pool2] * 3, *[four] * 5, *[five] * 3]


@pytest.mark.parametrize("image", SIDES)
def test_shapes_after_each_stage(image: int) -> None:
    found = shapes(full_size(image_size=image), image)
    channels = STEM | PRINTED_CHANNELS
    assert list(found.items()) == [
        (name, (c, side, side))
        for (name, c), side in zip(channels.items(), sides_of(image), strict=True)
    ]


def test_printed_projections_change_the_channels_from_4c_to_4e() -> None:
    found = shapes(full_size(pool_projection=128), 224)
    channels = {name: found[name][0] for name in PRINTED_CHANNELS}
    assert channels == PRINTED_CHANNELS | {"4c": 608, "4d": 608, "4e": 1056}


def multiply_adds(model: Inception, image: int) -> float:
    with FlopCounterMode(display=False) as counter:
        logits_of(model.eval(), torch.zeros(1, 3, image, image, device="meta"))
    return counter.get_total_flops() / 2


def test_multiply_adds_at_224() -> None:
    assert multiply_adds(full_size(), 224) / 1e9 == pytest.approx(2.02, abs=0.005)


def by_hand(module: nn.ModuleDict, pool: str, stride: int, x: Tensor) -> Tensor:
    """A module of Figure 5 without norm, from its weights, written as the figure is drawn."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        conv = module[name].linear
        assert isinstance(conv, nn.Conv2d)
        padding = (conv.kernel_size[0] - 1) // 2
        return torch.relu(F.conv2d(x, conv.weight, conv.bias, stride=stride, padding=padding))

    three = unit("3x3", unit("3x3_reduce", x), stride)
    double = unit("double3x3_a", unit("double3x3_reduce", x))
    double = unit("double3x3_b", double, stride)
    if pool == "max":
        pooled = F.max_pool2d(x, 3, stride, padding=1)
    else:
        inside = F.avg_pool2d(torch.ones_like(x), 3, stride, padding=1)
        pooled = F.avg_pool2d(x, 3, stride, padding=1) / inside
    if stride == 2:
        return torch.cat([three, double, pooled], dim=1)
    return torch.cat([unit("1x1", x), three, double, unit("pool_projection", pooled)], dim=1)


def test_every_module_computes_what_the_figure_draws() -> None:
    model = network(norm=norm.none())
    for row in FIGURE_5:
        module = model.trunk.get_submodule(row.name)
        assert isinstance(module, nn.ModuleDict)
        pool = "max" if row.name in ("3c", "4e", "5b") else "avg"
        stride = 2 if row.name in ("3c", "4e") else 1
        reduction = module["3x3_reduce"].linear
        assert isinstance(reduction, nn.Conv2d)
        channels = reduction.in_channels
        x = torch.rand(2, channels, 5, 5, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(module(x), by_hand(module, pool, stride, x))


# --- Units: convolution, norm, nonlinearity ---------------------------------------------------


def inputs_of_sites(model: Inception, x: Tensor) -> dict[str, list[Tensor]]:
    heard: dict[str, list[Tensor]] = {}

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: heard[name].append(inputs[0])

    for name, module in model.sites().items():
        heard[name] = []
        module.register_forward_pre_hook(listen(name))
    with torch.no_grad():
        model(x)
    return heard


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("normalization", [norm.none(), norm.batch()], ids=["none", "batch"])
def test_69_nonlinearities_are_applied(normalization: norm.Norm, separable: bool) -> None:
    model = network(norm=normalization, separable_stem=separable)
    heard = inputs_of_sites(model, images())
    assert len(heard) == 69
    assert all(len(inputs) == 1 for inputs in heard.values())
    assert all(isinstance(module, nn.ReLU) for module in model.sites().values())
    assert len({id(module) for module in model.sites().values()}) == 69
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 69 + separable


def test_sites_are_named_after_the_figure() -> None:
    names = list(network().sites())
    assert names[:5] == ["conv1", "conv2_reduce", "conv2", "3a.1x1", "3a.3x3_reduce"]
    assert names[-1] == "5b.pool_projection"
    assert [name for name in names if name.startswith("4e")] == [
        "4e.3x3_reduce",
        "4e.3x3",
        "4e.double3x3_reduce",
        "4e.double3x3_a",
        "4e.double3x3_b",
    ]


def test_every_nonlinearity_reads_normalized_values() -> None:
    for name, (x,) in inputs_of_sites(network(), images(8)).items():
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        assert mean.abs().max() < 1e-4, name
        assert (var - 1).abs().max() < 0.05, name  # eps is felt where the variance is small


def test_convolutions_have_a_bias_only_without_batch_norm() -> None:
    def biases(model: nn.Module) -> set[bool]:
        return {m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)}

    assert biases(network(norm=norm.none())) == {True}
    assert biases(network(norm=norm.batch())) == {False}


def test_batch_norm_folds_into_the_units() -> None:
    model = network(separable_stem=True, per_activation_modules=1)
    with torch.no_grad():
        for _ in range(3):
            model(images(8))  # moving averages of its own
    folded = norm.fold(model.eval())
    assert sum(isinstance(m, norm.BatchNorm) for m in folded.modules()) == 7  # those of 5b
    assert isinstance(folded, Inception)
    expected = logits_of(model, images())
    torch.testing.assert_close(logits_of(folded, images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", [norm.none(), norm.batch()], ids=["none", "batch"])
@pytest.mark.parametrize("nonlinearity", [nn.ReLU, nn.Sigmoid])
def test_gradients_reach_every_parameter(normalization: norm.Norm, nonlinearity: Any) -> None:
    model = network(
        norm=normalization,
        nonlinearity=nonlinearity,
        auxiliary=True,
        lrn=True,
        separable_stem=True,
        per_activation_modules=1,
    )
    logits, auxiliary = model(images(8))
    labels = torch.arange(8) % 7
    (F.cross_entropy(logits, labels) + 0.3 * F.cross_entropy(auxiliary, labels)).backward()
    without = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert without == []


# --- Options ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
def test_width_scales_every_number_of_channels(width: float) -> None:
    found = shapes(full_size(width=width), 64)
    assert {name: c for name, (c, _, _) in found.items()} == {
        name: c * width for name, c in (STEM | PRINTED_CHANNELS).items()
    }


def test_odd_widths_round_to_the_nearest_multiple_of_8() -> None:
    model = network(width=0.3)
    assert logits_of(model, images()).shape == (4, 7)
    channels = {name: w.shape[0] for name, w in weights(model.trunk).items()}
    assert all(c % 8 == 0 for c in channels.values())
    assert channels["conv1.linear"] == 16  # 19.2
    assert channels["3a.pool_projection.linear"] == 8  # 9.6
    assert channels["3b.3x3.linear"] == 32  # 28.8
    assert set(weights(network(width=0.01).trunk)["3b.3x3.linear"].shape[:2]) == {8}


def test_auxiliary_classifier_reads_4d_in_training_only() -> None:
    model = network(auxiliary=True)
    logits, auxiliary = model(images())
    assert logits.shape == auxiliary.shape == (4, 7)
    auxiliary.sum().backward()
    reached = {
        name.split(".")[1]
        for name, p in model.trunk.named_parameters(prefix="trunk")
        if p.grad is not None
    }
    assert reached == {"conv1", "conv2_reduce", "conv2", *list(PRINTED_CHANNELS)[:7]}
    assert logits_of(model.eval(), images()).shape == (4, 7)
    assert list(model.sites())[69:] == ["auxiliary.reduce", "auxiliary.fc"]


def test_auxiliary_classifier_leaves_the_rest_as_it_is() -> None:
    with_it, without = network(auxiliary=True).eval(), network().eval()
    assert torch.equal(with_it(images()), without(images()))


@pytest.mark.parametrize(("image", "pooled"), [(224, 4), (128, 2), (64, 4), (32, 2)])
def test_auxiliary_classifier_fits_any_image(image: int, pooled: int) -> None:
    model = full_size(auxiliary=True, image_size=image)
    assert model.auxiliary is not None
    assert model.auxiliary.fc.linear.weight.shape == (768, 128 * pooled**2)
    logits, auxiliary = model(torch.zeros(2, 3, image, image, device="meta"))
    assert logits.shape == auxiliary.shape == (2, 1000)


def test_local_response_norm_stands_where_googlenet_had_it() -> None:
    names = [name for name, _ in network(lrn=True).trunk.named_children()]
    assert names[:7] == ["conv1", "pool1", "lrn1", "conv2_reduce", "conv2", "lrn2", "pool2"]
    assert not any(isinstance(m, LocalResponseNorm) for m in network().modules())


@pytest.mark.parametrize("scale", [1, 300])
def test_local_response_norm_is_pytorchs(scale: float) -> None:
    x = scale * torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = LocalResponseNorm(16)(ours), nn.LocalResponseNorm(5, 1e-4, 0.75, k=1.0)(theirs)
    torch.testing.assert_close(y, expected)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    # GoogLeNet's formula for one value: channel 0 has two neighbours, and zeros beyond the edge.
    around = (x[0, :3, 1, 1].double() ** 2).sum() / 5
    assert y[0, 0, 1, 1].item() == pytest.approx(
        (x[0, 0, 1, 1] / (1 + 1e-4 * around) ** 0.75).item(), rel=1e-5
    )


def test_local_response_norm_keeps_its_precision_under_autocast() -> None:
    x = 5 * torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0)).abs()
    with torch.autocast("cpu", torch.bfloat16):
        y = LocalResponseNorm(16)(x)
    # What it takes off is about 0.2 %, which bfloat16 (steps of 0.8 % at 1) cannot hold.
    torch.testing.assert_close(x - y, x - nn.LocalResponseNorm(5)(x), rtol=0.02, atol=1e-5)


def test_dropout_acts_on_the_classifiers_input_in_training() -> None:
    model = network(dropout=0.5, nonlinearity=nn.Sigmoid)
    heard: list[Tensor] = []
    model.classifier.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    x = images(16)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model(x)
        model.eval()(x)
    dropped = [(features == 0).float().mean().item() for features in heard]
    assert dropped == [pytest.approx(0.5, abs=0.05), 0]


def test_last_modules_can_be_normalized_per_activation() -> None:
    model = network(per_activation_modules=3)
    weights = {
        name.removeprefix("trunk.").removesuffix(".norm"): tuple(m.weight.shape[1:])
        for name, m in model.named_modules()
        if isinstance(m, norm.BatchNorm)
    }
    assert len(weights) == 69
    last = {name: side for name, side in weights.items() if name[:2] in ("4e", "5a", "5b")}
    assert {side for name, side in weights.items() if name not in last} == {()}
    before_stride = {"4e.3x3_reduce", "4e.double3x3_reduce", "4e.double3x3_a"}
    assert last == {name: (4, 4) if name in before_stride else (2, 2) for name in last}
    assert len(last) == 5 + 7 + 7
    assert logits_of(model, images()).shape == (4, 7)
    without = network(per_activation_modules=3, norm=norm.none())
    assert parameters(without) == parameters(network(norm=norm.none()))


def test_modules_take_the_channels_of_the_one_before_and_pool_where_a_stride_is_2() -> None:
    model = network(modules=("3b", "4a", "4e", "5b"), width=0.125, classes=10, image_size=32)
    names = [name for name, _ in model.trunk.named_children()]
    assert names[-4:] == ["3b", "4a", "4e", "5b"]
    x = torch.zeros(1, 3, 32, 32)
    sides = {}
    for name, layer in model.trunk.named_children():
        x = layer(x)
        sides[name] = x.shape[-1]
    assert [sides[name] for name in ("pool2", "3b", "4a", "4e", "5b")] == [4, 4, 4, 2, 2]
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.08e6, rel=0.1)
    assert {name.split(".")[0] for name in model.sites()} == {
        *("conv1", "conv2_reduce", "conv2"),
        *("3b", "4a", "4e", "5b"),
    }
    logits = network(modules=("3a",), per_activation_modules=1)(images())
    assert logits.shape == (4, 7)


def test_per_activation_counts_back_from_the_last_module_there_is() -> None:
    model = network(modules=("3b", "4e"), per_activation_modules=1)
    sides = {
        name.split(".")[1]: tuple(m.weight.shape[1:])
        for name, m in model.named_modules()
        if isinstance(m, norm.BatchNorm) and name.startswith("trunk.")
    }
    assert sides["3b"] == ()
    assert len(sides["4e"]) == 2


def test_all_modules_spelled_out_are_all_modules() -> None:
    assert tuple(row.name for row in FIGURE_5) == MODULES
    spelled, plain = network(modules=tuple(MODULES)), network()
    assert all(map(torch.equal, spelled.state_dict().values(), plain.state_dict().values()))


def test_images_of_other_sizes_are_taken() -> None:
    assert logits_of(network(image_size=64).eval(), images(2, side=80)).shape == (2, 7)


@pytest.mark.parametrize("lrn", [False, True])
def test_channels_last_and_bfloat16_change_nothing_but_rounding(lrn: bool) -> None:
    x, options = images(16), {"lrn": lrn, "per_activation_modules": 1, "nonlinearity": nn.Sigmoid}
    expected = logits_of(network(**options), x)
    model = network(**options).to(memory_format=torch.channels_last)
    torch.testing.assert_close(logits_of(model, x), expected, rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        logits = logits_of(model, x)
    assert (logits.float() - expected).std() < 0.1 * expected.std()


# --- Initial weights --------------------------------------------------------------------------


def weights(model: nn.Module) -> dict[str, Tensor]:
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {name: layer.weight.detach() for name, layer in layers.items()}


def test_initial_weights_depend_on_the_seed_and_not_on_the_norm() -> None:
    torch.manual_seed(0)
    plain = weights(network(norm=norm.none(), auxiliary=True, lrn=True))
    torch.manual_seed(1)  # the global generator has no part in it
    normalized = weights(network(norm=norm.batch(), auxiliary=True, per_activation_modules=2))
    other = weights(network(seed=1, auxiliary=True))
    assert plain.keys() == normalized.keys()
    assert all(torch.equal(w, normalized[name]) for name, w in plain.items())
    assert not any(torch.equal(w, other[name]) for name, w in plain.items())


def test_initial_scales() -> None:
    he = weights(network(width=1.0, separable_stem=True))
    for name, w in he.items():
        std = 0.01 if name == "classifier" else math.sqrt(2 / w[0].numel())
        assert w.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * w.numel())), name
    gaussian = weights(network(width=1.0, distribution="gaussian", std=0.03))
    for name, w in gaussian.items():
        std = 0.01 if name == "classifier" else 0.03
        assert w.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * w.numel())), name


@pytest.mark.parametrize("distribution", ["he", "gaussian"])
def test_gain_is_a_factor_on_the_weights_of_convolutions(distribution: str) -> None:
    plain, larger = (weights(network(distribution=distribution, gain=gain)) for gain in (1.0, 2.0))
    for name, w in plain.items():
        assert torch.equal(larger[name], w if name == "classifier" else 2 * w), name


def test_biases_start_at_zero() -> None:
    model = network(norm=norm.none(), auxiliary=True)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 69 + 1 + 3
    assert not any(b.any() for b in biases)


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"pool_projection": 64},
        {"width": 0.0},
        {"width": -1.0},
        {"width": math.nan},
        {"per_activation_modules": -1},
        {"per_activation_modules": 11},
        {"modules": ("3b", "4a"), "per_activation_modules": 3},
        {"modules": ()},
        {"modules": ("4a", "3b")},
        {"modules": ("3b", "6a")},
        {"modules": ("3b", "5b"), "auxiliary": True},
        {"image_size": 31},
        {"distribution": "xavier"},
        {"distribution": "gaussian", "std": 0.0},
        {"gain": 0.0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_in_one_line(options: dict[str, Any]) -> None:
    name, value = list(options.items())[-1]
    with pytest.raises(ValueError, match=f"^{name}: {re.escape(repr(value))}; expected ") as caught:
        network(**options)
    assert "\n" not in str(caught.value)


# --- Weights from elsewhere -------------------------------------------------------------------

CAFFE_NAMES = {
    "conv1": "conv1_7x7_s2",
    "conv2_reduce": "conv2_3x3_reduce",
    "conv2": "conv2_3x3",
    "1x1": "1x1",
    "3x3_reduce": "3x3_reduce",
    "3x3": "3x3",
    "double3x3_reduce": "double_3x3_reduce",
    "double3x3_a": "double_3x3_1",
    "double3x3_b": "double_3x3_2",
    "pool_projection": "pool_proj",
}


def published(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """BN-Inception as it was published for Caffe: convolutions with a bias before BN, ceil mode."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        size = w[f"{name}.weight"].shape[-1]
        x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, size // 2)
        gamma, beta, mean, var = (w[f"{name}_bn.{k}"] for k in ("weight", "bias", "mean", "var"))
        return F.relu(F.batch_norm(x, mean, var, gamma, beta, eps=1e-5))

    def module(row: str, x: Tensor, pool: str, stride: int = 1) -> Tensor:
        name = f"inception_{row}"
        three = unit(f"{name}_3x3", unit(f"{name}_3x3_reduce", x), stride)
        double = unit(f"{name}_double_3x3_1", unit(f"{name}_double_3x3_reduce", x))
        double = unit(f"{name}_double_3x3_2", double, stride)
        if stride == 2:
            return torch.cat([three, double, F.max_pool2d(x, 3, 2, ceil_mode=True)], 1)
        if pool == "max":
            pooled = F.max_pool2d(x, 3, 1, padding=1, ceil_mode=True)
        else:
            pooled = F.avg_pool2d(x, 3, 1, padding=1, ceil_mode=True, count_include_pad=True)
        one = unit(f"{name}_1x1", x)
        return torch.cat([one, three, double, unit(f"{name}_pool_proj", pooled)], 1)

    x = F.max_pool2d(unit("conv1_7x7_s2", x, 2), 3, 2, ceil_mode=True)
    x = unit("conv2_3x3", unit("conv2_3x3_reduce", x))
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for row in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        x = module(row, x, "max" if row == "5b" else "avg", 2 if row in ("3c", "4e") else 1)
    return F.linear(x.mean((2, 3)), w["last_linear.weight"], w["last_linear.bias"])


@torch.no_grad()
def ported(model: Inception) -> dict[str, Tensor]:
    """Random weights by their published names, and in `model`, whose means take the biases in."""
    w = {}
    for name, unit in model.trunk.named_modules():
        if isinstance(unit, Unit):
            conv, bn = unit.linear, unit.norm
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(bn, norm.BatchNorm)
            row, _, own = name.rpartition(".")
            theirs = f"inception_{row}_{CAFFE_NAMES[own]}" if row else CAFFE_NAMES[own]
            bias, gamma, beta, mean = 0.5 * torch.randn(4, len(conv.weight), dtype=torch.float64)
            var = 0.5 + torch.rand_like(mean)
            bn.weight.copy_(1 + gamma)
            bn.bias.copy_(beta)
            bn.running_mean.copy_(mean - bias)
            bn.running_var.copy_(var)
            w |= {f"{theirs}.weight": conv.weight, f"{theirs}.bias": bias}
            w |= {f"{theirs}_bn.weight": bn.weight, f"{theirs}_bn.bias": bn.bias}
            w |= {f"{theirs}_bn.mean": mean, f"{theirs}_bn.var": var}
    last = model.classifier
    return w | {"last_linear.weight": last.weight, "last_linear.bias": last.bias}


def test_the_published_weights_give_their_outputs() -> None:
    """With both switches to rounding; with one, or none, not nearly."""
    options = {"pool_projection": 128, "ceil_pools": True, "padded_averages": True}
    x = images(2, 96).double()
    errors = []
    for off in ({}, {"ceil_pools": False}, {"padded_averages": False}):
        model = network(**(options | {"image_size": 96} | off)).double().eval()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            expected = published(ported(model), x)
        errors.append(((logits_of(model, x) - expected).norm() / expected.norm()).item())
    assert errors[0] < 1e-14
    assert min(errors[1:]) > 1e-2


def test_ceil_mode_is_for_sides_that_stay_even() -> None:
    with pytest.raises(ValueError, match="^ceil_pools: True; expected False for images"):
        Shape(image_size=80, ceil_pools=True)
