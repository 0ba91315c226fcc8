"""The written-out batch norm against the paper's own statements, autograd and PyTorch."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from norm.layers import drawn, randomized
from torch import Tensor, nn

from bn_repro import norm

# Every form of the layer: how to make it, and the shape of an input.
Make = Callable[..., norm.BatchNorm]
FORMS = [
    pytest.param(lambda **kw: norm.BatchNormPerActivation(5, **kw), (7, 5), id="fc"),
    pytest.param(lambda **kw: norm.BatchNormPerFeatureMap(3, **kw), (4, 3, 5, 2), id="conv"),
    pytest.param(lambda **kw: norm.BatchNormPerActivation(3, 2, 4, **kw), (6, 3, 2, 4), id="maps"),
]
# The forms that PyTorch has too.
TWINS = [
    pytest.param(lambda **kw: norm.BatchNormPerActivation(5, **kw), nn.BatchNorm1d(5), (7, 5)),
    pytest.param(
        lambda **kw: norm.BatchNormPerFeatureMap(3, **kw), nn.BatchNorm2d(3), (4, 3, 5, 2)
    ),
]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


# Algorithm 1


def test_lecture_example():
    """Fleuret, AMMI 2018, 6.4: three components of 1000 samples come out as beta and gamma say."""
    x = torch.randn(1000, 3) * torch.tensor([2.0, 5, 10]) + torch.tensor([-10.0, 25, 3])
    layer = norm.BatchNormPerActivation(3)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([2.0, 4, 8]))
        layer.weight.copy_(torch.tensor([1.0, 2, 3]))
    for layer.fused in (True, False):
        y = layer(x)
        torch.testing.assert_close(y.mean(0), torch.tensor([2.0, 4, 8]), atol=1e-4, rtol=0)
        std = y.std(0, unbiased=False)
        torch.testing.assert_close(std, torch.tensor([1.0, 2, 3]), atol=1e-4, rtol=0)


def test_algorithm_1_by_hand():
    """x = 1, 3, 5: mu = 3, var = 8/3 (biased), and with eps = 1/3 the deviation is sqrt(3)."""
    x = torch.tensor([[1.0], [3.0], [5.0]], dtype=torch.float64)
    gamma, beta = x.new_full((1, 1), 6.0), x.new_full((1, 1), 10.0)
    y, mu, var = norm.batch_norm_forward(x, gamma, beta, 1 / 3, (0,))
    assert mu.item() == 3
    assert var.item() == pytest.approx(8 / 3)
    assert y.flatten().tolist() == pytest.approx([10 - 12 / 3**0.5, 10, 10 + 12 / 3**0.5])


@pytest.mark.parametrize("offset", [0.0, 0.3])
@pytest.mark.parametrize(("shape", "dims"), [((7, 5), (0,)), ((4, 3, 5, 2), (0, 2, 3))])
def test_the_six_gradients_against_autograd(shape: tuple[int, ...], dims: norm.Dims, offset: float):
    """Also about a mean that is off: at the true one the term of dvar in dmu is 0, and unseen."""
    statistic = [1 if d in dims else size for d, size in enumerate(shape)]
    x, dy = drawn(shape).requires_grad_(), torch.randn(shape, dtype=torch.float64)
    gamma = torch.randn(statistic, dtype=torch.float64).requires_grad_()
    beta = torch.randn(statistic, dtype=torch.float64).requires_grad_()

    mu = norm.mini_batch_mean(x, dims) + offset
    var = norm.mini_batch_mean((x - mu) ** 2, dims) + offset
    y, mu, var = norm.batch_norm_forward(x, gamma, beta, 1e-5, dims, (mu, var))
    expected = torch.autograd.grad(y, (x, gamma, beta), dy)
    found = norm.batch_norm_backward(dy, x, gamma, mu, var, 1e-5, dims)
    for name, a, b in zip(("dx", "dgamma", "dbeta"), found, expected, strict=True):
        assert a.shape == b.shape
        assert relative_error(a, b) < 1e-10, name


@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_gradcheck(make: Make, shape: tuple[int, ...]):
    layer = randomized(make(fused=False))
    x = drawn(shape).requires_grad_()
    parameters = (x, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), parameters)


# What the paper says of it


def test_section_2_a_step_that_ignores_the_mean_only_grows_the_bias():
    """x = u + b, xhat = x - E[x]: if the step does not see that E[x] moves with b, b drifts."""
    u, target = torch.randn(64, dtype=torch.float64), 1.0
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)
    outputs, losses, biases = [], [], [0.0]
    for _ in range(200):
        x = u + b
        xhat = x - x.mean().detach()  # blind to the dependence of E[x] on b
        loss = ((xhat - target) ** 2).mean()
        (db,) = torch.autograd.grad(loss, b)
        with torch.no_grad():
            b -= 0.1 * db
        outputs.append(xhat.detach())
        losses.append(loss.item())
        biases.append(b.item())
    torch.testing.assert_close(outputs[-1], outputs[0], rtol=0, atol=1e-12)
    assert losses[-1] == pytest.approx(losses[0], rel=1e-12)
    steps = torch.tensor(biases).diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.2), rtol=1e-4, atol=0)

    # BN's gradient does see it: b gets none, as its output does not depend on it.
    x = (u + b).detach()[:, None]
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    xhat, mu, var = norm.batch_norm_forward(x, one, zero, 1e-5, (0,))
    dx, _, _ = norm.batch_norm_backward(2 * (xhat - target) / 64, x, one, mu, var, 1e-5, (0,))
    assert abs(dx.sum().item()) < 1e-12


def test_section_3_3_scale_invariance():
    """BN((aW)u) = BN(Wu), the same gradient for u, and 1/a of it for the weights. (eps = 0.)"""
    a = 7.5
    u, w = torch.randn(32, 6, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    gamma, beta = torch.randn(2, 1, 4, dtype=torch.float64)
    dy = torch.randn(32, 4, dtype=torch.float64)

    def output_and_gradients(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        leaf_u, leaf_w = u.clone().requires_grad_(), weights.clone().requires_grad_()
        y, _, _ = norm.batch_norm_forward(leaf_u @ leaf_w, gamma, beta, 0.0, (0,))
        du, dw = torch.autograd.grad(y, (leaf_u, leaf_w), dy)
        return y.detach(), du, dw

    y, du, dw = output_and_gradients(w)
    scaled_y, scaled_du, scaled_dw = output_and_gradients(a * w)
    assert relative_error(scaled_y, y) < 1e-12
    assert relative_error(scaled_du, du) < 1e-12
    assert relative_error(scaled_dw, dw / a) < 1e-12


# The layers


@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_which_values_share_a_statistic(make: Make, shape: tuple[int, ...]):
    """In training, y of each gamma and beta has mean beta and deviation |gamma|, and no others."""
    layer = randomized(make(fused=False, eps=1e-12))
    y = layer(drawn(shape)).detach()
    torch.testing.assert_close(y.mean(layer.dims(y)), layer.bias.detach())
    torch.testing.assert_close(y.std(layer.dims(y), unbiased=False), layer.weight.detach().abs())
    assert len(shape) == y.dim() == layer.weight.dim() + len(layer.dims(y))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_fused_against_written_out(make: Make, shape: tuple[int, ...], dtype: torch.dtype):
    """Three training steps (outputs, gradients, moving averages), then inference."""
    written, fused = randomized(make(fused=False), dtype), make(fused=True).to(dtype)
    fused.load_state_dict(written.state_dict())
    rtol, atol = (1e-10, 1e-12) if dtype == torch.float64 else (1e-4, 1e-5)

    for training in (True, True, True, False):
        x, dy = drawn(shape, dtype), torch.randn(shape, dtype=dtype)
        results = []
        for layer in (written, fused):
            leaf = x.clone().requires_grad_()
            y = layer.train(training)(leaf)
            grads = torch.autograd.grad(y, (leaf, layer.weight, layer.bias), dy)
            results.append((y, *grads, *layer.buffers()))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
    assert written.num_batches_tracked == 3


@pytest.mark.parametrize(("make", "twin", "shape"), TWINS)
@pytest.mark.parametrize("fused", [True, False])
def test_trains_as_pytorch_does(make: Make, twin: nn.Module, shape: tuple[int, ...], fused: bool):
    """Ten steps of SGD beside torch.nn's layer; with the kernel, equal to the last bit."""
    ours, theirs = make(fused=fused), type(twin)(shape[1])
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(1)
        for _ in range(10):
            x, target = torch.randn(2, *shape, generator=generator)
            optimizer.zero_grad()
            F.mse_loss(layer(3 + 2 * x), target).backward()
            optimizer.step()
    rtol, atol = (0, 0) if fused else (1e-4, 1e-5)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=rtol, atol=atol)
    assert ours.num_batches_tracked == 10


@pytest.mark.parametrize(("make", "twin", "shape"), TWINS)
def test_state_dict_both_ways(make: Make, twin: nn.Module, shape: tuple[int, ...]):
    ours, theirs = randomized(make(), torch.float32), type(twin)(shape[1])
    x = drawn(shape, torch.float32)
    ours(x)  # counts one mini-batch
    assert list(ours.state_dict()) == list(theirs.state_dict())
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(theirs.eval()(x), ours.eval()(x))

    theirs.train()(2 * x)
    fresh = make()
    fresh.load_state_dict(theirs.state_dict(), strict=True)
    assert fresh.num_batches_tracked == 2
    assert torch.equal(fresh.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("fused", [True, False])
def test_moving_averages_by_hand(fused: bool):
    """Means 2 then 7, unbiased variances 2 then 8, a quarter of the new at each step."""
    layer = norm.BatchNormPerActivation(1, momentum=0.25, fused=fused).double()
    layer(torch.tensor([[1.0], [3.0]], dtype=torch.float64))
    assert layer.running_mean.tolist() == [0.5]
    assert layer.running_var.tolist() == [1.25]
    layer(torch.tensor([[5.0], [9.0]], dtype=torch.float64))
    assert layer.running_mean.tolist() == [0.75 * 0.5 + 0.25 * 7]
    assert layer.running_var.tolist() == [0.75 * 1.25 + 0.25 * 8]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_inference_sees_no_batch(make: Make, shape: tuple[int, ...], fused: bool):
    layer = randomized(make(fused=fused)).eval()
    x = drawn(shape)
    before = [buffer.clone() for buffer in layer.buffers()]
    torch.testing.assert_close(torch.cat([layer(one) for one in x.split(1)]), layer(x))
    assert all(torch.equal(a, b) for a, b in zip(layer.buffers(), before, strict=True))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_bfloat16_statistics_are_float32(make: Make, shape: tuple[int, ...], fused: bool):
    """Mean 100, deviation 1: bfloat16 arithmetic (8 bits) would lose the variance altogether."""
    layer = make(fused=fused, momentum=1.0)
    x = (100 + torch.randn(32, *shape[1:])).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        eval_y = layer.eval()(x)
    exact = x.double()
    assert y.dtype == eval_y.dtype == torch.bfloat16
    assert layer.running_mean.dtype == layer.running_var.dtype == torch.float32
    exact_mean, exact_var = exact.mean(layer.dims(y)).float(), exact.var(layer.dims(y)).float()
    torch.testing.assert_close(layer.running_mean, exact_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.running_var, exact_var, rtol=1e-4, atol=0)
    expected = (exact - exact.mean(layer.dims(y), keepdim=True)) / torch.sqrt(
        exact.var(layer.dims(y), unbiased=False, keepdim=True) + layer.eps
    )
    torch.testing.assert_close(y.double(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "shape"), FORMS[:2])
def test_which_implementation_runs(
    make: Make, shape: tuple[int, ...], training: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(F, "batch_norm", lambda x, *_: "kernel")
    x = drawn(shape, torch.float32)
    assert make(fused=True).train(training)(x) == "kernel"
    assert isinstance(make(fused=False).train(training)(x), Tensor)


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_reaches_the_kernel_as_it_is(training: bool, monkeypatch: pytest.MonkeyPatch):
    seen = []
    kernel = F.batch_norm
    monkeypatch.setattr(F, "batch_norm", lambda x, *args: [seen.append(x), kernel(x, *args)][1])
    x = drawn((4, 3, 5, 6), torch.float32).to(memory_format=torch.channels_last).requires_grad_()
    layer = norm.BatchNormPerFeatureMap(3).train(training)
    y = layer(x)
    (dx,) = torch.autograd.grad(y, x, torch.randn_like(y))
    assert seen[0] is x
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert dx.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "shape"), [FORMS[1], FORMS[2]])
def test_channels_last_changes_no_value(make: Make, shape: tuple[int, ...], fused: bool):
    a, b = make(fused=fused), make(fused=fused)
    x = drawn(shape, torch.float32)
    y = a(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, b(x))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(a.state_dict(), b.state_dict())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_a_cuda_graph_could_repeat_it(make: Make, shape: tuple[int, ...], fused: bool):
    """On the meta device no value can be read back; a step leaves buffers where they are."""
    meta = make(fused=fused).to("meta")
    meta(torch.empty(shape, device="meta")).sum().backward()

    layer = make(fused=fused)
    addresses = [buffer.data_ptr() for buffer in layer.buffers()]
    layer(drawn(shape, torch.float32))
    assert [buffer.data_ptr() for buffer in layer.buffers()] == addresses
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (norm.BatchNormPerActivation(5), (1, 5)),
        (norm.BatchNormPerActivation(5), (0, 5)),
        (norm.BatchNormPerFeatureMap(3), (1, 3, 1, 1)),
        (norm.BatchNormPerActivation(3, 2, 2), (1, 3, 2, 2)),
    ],
)
def test_one_value_per_statistic(layer: norm.BatchNorm, shape: tuple[int, ...], fused: bool):
    layer.fused = fused
    x = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"fewer than 2 values per statistic.*\.eval\(\)"):
        layer.train()(x)
    assert layer.num_batches_tracked == 0
    assert layer.eval()(x).shape == shape


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_only_floating_point_is_normalized(dtype: torch.dtype, fused: bool):
    layer = norm.BatchNormPerActivation(3, fused=fused)
    with pytest.raises(ValueError, match=rf"expected an input of floating point, got {dtype}"):
        layer(torch.ones(4, 3, dtype=dtype))


def test_one_image_has_values_enough_on_a_feature_map():
    assert norm.BatchNormPerFeatureMap(3)(torch.randn(1, 3, 2, 2)).shape == (1, 3, 2, 2)


@pytest.mark.parametrize(
    ("layer", "expected", "shape"),
    [
        (norm.BatchNormPerActivation(5), "(N, 5)", (4, 6)),
        (norm.BatchNormPerActivation(5), "(N, 5)", (4, 5, 1)),
        (norm.BatchNormPerActivation(5), "(N, 5)", (5,)),
        (norm.BatchNormPerFeatureMap(3), "(N, 3, H, W)", (4, 2, 5, 5)),
        (norm.BatchNormPerFeatureMap(3), "(N, 3, H, W)", (4, 3)),
        (norm.BatchNormPerActivation(3, 2, 2), "(N, 3, 2, 2)", (4, 3, 2, 3)),
        (norm.BatchNormPerActivation(3, 2, 2), "(N, 3, 2, 2)", (4, 12)),
    ],
)
def test_wrong_input_shape(layer: norm.BatchNorm, expected: str, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="expected an input") as error:
        layer(torch.zeros(shape))
    assert f"expected an input {expected}, got {shape}" in str(error.value)


@pytest.mark.parametrize("form", [norm.BatchNormPerActivation, norm.BatchNormPerFeatureMap])
@pytest.mark.parametrize("shape", [(), (3, 1e-5), (3, 0.1, True), (0,), (-1,), ("3",)])
def test_a_shape_that_is_none(form: type[norm.BatchNorm], shape: tuple):
    with pytest.raises(ValueError, match=f"^{form.__name__}.*positive whole numbers.* by name$"):
        form(*shape)


def test_numpys_whole_numbers_are_whole():
    assert norm.BatchNormPerActivation(*np.array([3])).weight.shape == (3,)


def test_what_a_form_does_not_have():
    with pytest.raises(
        ValueError, match=r"^BatchNormPerFeatureMap\(3, 4, 4\): expected \(channels\)"
    ):
        norm.BatchNormPerFeatureMap(3, 4, 4)
    with pytest.raises(ValueError, match="track_running_stats=False is not offered; leave the"):
        norm.BatchNormPerFeatureMap(3, track_running_stats=False)


# What else torch.nn.BatchNorm has

MORE_TWINS = [
    *TWINS,
    pytest.param(lambda **kw: norm.BatchNormPerFeatureMap(3, **kw), nn.BatchNorm1d(3), (4, 3, 6)),
    pytest.param(
        lambda **kw: norm.BatchNormPerFeatureMap(3, **kw), nn.BatchNorm3d(3), (4, 3, 2, 5, 2)
    ),
]


@pytest.mark.parametrize("options", [{"momentum": None}, {"affine": False}, {"momentum": 0.3}])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "twin", "shape"), MORE_TWINS)
def test_options_and_inputs_of_pytorch(
    make: Make, twin: nn.Module, shape: tuple[int, ...], fused: bool, options: dict[str, Any]
):
    """Three training steps, then inference: outputs, gradients and state, in float64."""
    theirs = type(twin)(shape[1], dtype=torch.float64, **options)
    ours = make(fused=fused, dtype=torch.float64, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))
    for training in (True, True, True, False):
        x, dy = drawn(shape), torch.randn(shape, dtype=torch.float64)
        results = []
        for layer in (ours, theirs):
            leaf = x.clone().requires_grad_()
            y = layer.train(training)(leaf)
            results.append((y, *torch.autograd.grad(y, (leaf, *layer.parameters()), dy)))
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-12, atol=1e-14)


def test_device_and_dtype():
    layer = norm.BatchNormPerFeatureMap(3, device="meta", dtype=torch.bfloat16)
    tensors = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
    assert {(t.device.type, t.dtype) for t in tensors} == {("meta", torch.bfloat16)}
    assert layer.num_batches_tracked.dtype == torch.int64
    assert layer.num_batches_tracked.device.type == "meta"


def test_reset_running_stats():
    layer, fresh = norm.BatchNormPerActivation(5), norm.BatchNormPerActivation(5)
    layer(drawn((7, 5), torch.float32))
    assert not torch.equal(layer.running_mean, fresh.running_mean)
    layer.reset_running_stats()
    torch.testing.assert_close(layer.state_dict(), fresh.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("version", [None, 1, 2])
def test_a_state_dict_without_the_count_loads_as_in_pytorch(version: int | None):
    """One of before PyTorch 0.4.1, or a plain dict, loads; a later one that lacks it does not."""
    loaded = []
    for layer in (norm.BatchNormPerActivation(5), nn.BatchNorm1d(5)):
        count = layer.num_batches_tracked
        assert isinstance(count, Tensor)
        count.fill_(3)
        state = layer.state_dict()
        del state["num_batches_tracked"]
        if version is None:
            del state._metadata  # pyright: ignore[reportAttributeAccessIssue]
        else:
            state._metadata[""]["version"] = version  # pyright: ignore[reportAttributeAccessIssue]
        count.fill_(4)
        try:
            layer.load_state_dict(state)
            loaded.append(int(count))
        except RuntimeError as error:
            loaded.append("Missing" in str(error))
    assert loaded[0] == loaded[1] == (True if version == 2 else 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("make", "shape"), FORMS)
def test_inference_of_16_bits_computes_in_32(
    make: Make, shape: tuple[int, ...], dtype: torch.dtype
):
    """A mean of 100 and a deviation of 1: a shift rounded to 8 bits would be off by up to 0.25."""
    layer = randomized(make(fused=False), torch.float32)
    layer.running_mean.fill_(100.3)
    layer = layer.to(dtype).eval()
    x = (100 + torch.randn(shape)).to(dtype)
    exact = copy.deepcopy(layer).double()(x.double())
    torch.testing.assert_close(layer(x).double(), exact, rtol=2**-7, atol=2**-8)
    assert layer(x).dtype == dtype


def test_eps_0_is_the_paper_without_its_constant():
    x = drawn((7, 5))
    layer = norm.BatchNormPerActivation(5, eps=0).double()
    torch.testing.assert_close(layer(x), (x - x.mean(0)) / x.std(0, unbiased=False))
    torch.testing.assert_close(layer(1e3 * x), layer(x), rtol=1e-12, atol=1e-13)
