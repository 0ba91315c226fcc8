"""The written-out batch norm against the paper's own statements, autograd and PyTorch."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
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


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def randomized(layer: norm.BatchNorm, dtype: torch.dtype = torch.float64) -> norm.BatchNorm:
    """`layer` with gamma, beta and moving averages that are not the initial 1 and 0."""
    layer = layer.to(dtype)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            tensor.normal_()
        layer.running_var.uniform_(0.5, 2)
    return layer


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """An input away from mean 0 and variance 1."""
    return (3 + 2 * torch.randn(shape, dtype=torch.float64)).to(dtype)


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

    def mean(t: Tensor, over: norm.Dims) -> Tensor:
        return norm.mini_batch_mean(t, over) + offset

    y, mu, var = norm.batch_norm_forward(x, gamma, beta, 1e-5, dims, mean)
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
    torch.testing.assert_close(y.mean(layer.dims), layer.bias.detach())
    torch.testing.assert_close(y.std(layer.dims, unbiased=False), layer.weight.detach().abs())
    assert len(shape) == y.dim() == layer.weight.dim() + len(layer.dims)


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
    exact_mean, exact_var = exact.mean(layer.dims).float(), exact.var(layer.dims).float()
    torch.testing.assert_close(layer.running_mean, exact_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.running_var, exact_var, rtol=1e-4, atol=0)
    expected = (exact - exact.mean(layer.dims, keepdim=True)) / torch.sqrt(
        exact.var(layer.dims, unbiased=False, keepdim=True) + layer.eps
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


# Algorithm 2


class Tiny(nn.Sequential):
    """Two BN layers of different kinds, with dropout before and between, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.drop0 = nn.Dropout(0.5)
        self.conv = nn.Conv2d(1, 2, 3, bias=False)
        self.bn1 = norm.BatchNormPerFeatureMap(2)
        self.g1 = nn.Sigmoid()
        self.drop1 = nn.Dropout(0.5)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(8, 3, bias=False)
        self.bn2 = norm.BatchNormPerActivation(3)
        self.double()
        randomized(self.bn1)
        randomized(self.bn2)


def snapshot(network: nn.Module) -> dict[str, bytes]:
    return {name: t.numpy(force=True).tobytes() for name, t in network.state_dict().items()}


@pytest.mark.parametrize("fused", [True, False])
def test_algorithm_2_by_hand(fused: bool):
    """mu_B = 2 and 7, var_B = 1 and 4, m = 2: E[x] = 4.5 and Var[x] = 2/1 * 2.5 = 5."""
    layer = norm.BatchNormPerActivation(1, fused=fused).double()
    batches = [torch.tensor(b, dtype=torch.float64)[:, None] for b in ([1, 3], [5, 9])]
    norm.estimate_population_statistics(layer, batches)
    assert layer.running_mean.tolist() == [4.5]
    assert layer.running_var.tolist() == [5.0]
    assert layer.num_batches_tracked == 0
    y = layer.eval()(torch.tensor([[4.5 + 5**0.5]], dtype=torch.float64))
    assert y.item() == pytest.approx(1, rel=1e-5)


def test_algorithm_2_counts_m_prime_on_feature_maps():
    """Two images of 1x2 positions: m' = 4. Values 0, 0, 2, 2 and 1, 1, 5, 5: var_B = 1 and 4."""
    layer = norm.BatchNormPerFeatureMap(1).double()
    batches = [torch.tensor(b).double().view(2, 1, 1, 2) for b in ([0, 2, 0, 2], [1, 5, 5, 1])]
    norm.estimate_population_statistics(layer, batches)
    assert layer.running_mean.tolist() == [2.0]
    assert layer.running_var.tolist() == pytest.approx([4 / 3 * 2.5], rel=1e-15)


def test_algorithm_2_through_a_network():
    """Nested layers see mini-batch statistics of those below; dropout is off; modes come back."""
    network = Tiny()
    network.drop1.eval()
    network.bn2.eval()
    modes = [module.training for module in network.modules()]
    weights = [p.clone() for p in network.parameters()]
    batches = [drawn((6, 1, 4, 4)) for _ in range(3)]

    mus, variances = [], []
    for x in batches:
        y, _, _, _ = network.bn1.normalize(network.conv(x))
        z = network.fc(torch.sigmoid(y).flatten(1))
        mus.append(z.mean(0))
        variances.append(z.var(0, unbiased=False))

    watched = []
    watch = network.fc.register_forward_hook(lambda layer, _, output: watched.append(output))
    norm.estimate_population_statistics(network, (x for x in batches))
    watch.remove()
    assert [output.requires_grad for output in watched] == [False] * 3
    torch.testing.assert_close(network.bn2.running_mean, torch.stack(mus).mean(0).detach())
    expected_var = 6 / 5 * torch.stack(variances).mean(0).detach()
    torch.testing.assert_close(network.bn2.running_var, expected_var)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), weights, strict=True))
    assert network.bn1.num_batches_tracked == network.bn2.num_batches_tracked == 0
    assert not network.bn1._forward_hooks


def test_algorithm_2_sums_in_float64():
    """Means of 2^24, 3, -2^24 and 3 are 6 together; float32, step by step, would make it 7."""
    layer = norm.BatchNormPerActivation(1)
    batches = [torch.tensor([[mu - 2], [mu + 2]]) for mu in (2.0**24, 3.0, -(2.0**24), 3.0)]
    norm.estimate_population_statistics(layer, batches)
    assert layer.running_mean.tolist() == [6 / 4]


def test_population_statistics_are_borrowed():
    """Within the block Algorithm 2's statistics; after it the moving averages, byte for byte."""
    network, batches = Tiny(), [drawn((6, 1, 4, 4)) for _ in range(3)]
    network(batches[0])
    before = snapshot(network)
    with norm.population_statistics(network, batches):
        inside = snapshot(network)
        network.eval()
    assert {name for name in before if before[name] != inside[name]} == {
        f"{layer}.{buffer}"
        for layer in ("bn1", "bn2")
        for buffer in ("running_mean", "running_var")
    }
    assert snapshot(network) == before
    assert network.training

    reference = Tiny()
    reference.load_state_dict(network.state_dict())
    norm.estimate_population_statistics(reference, batches)
    assert snapshot(reference) == inside


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "no mini-batches"),
        ([6, 4], r"got \(4, 1, 4, 4\) after \(6, 1, 4, 4\)"),
        ([1], "fewer than 2 values per statistic"),
    ],
)
def test_algorithm_2_refuses(sizes: list[int], message: str):
    """And leaves everything as it was, so that a caller can go on."""
    network = Tiny()
    before, modes = snapshot(network), [module.training for module in network.modules()]
    with pytest.raises(ValueError, match=message):
        norm.estimate_population_statistics(network, [drawn((size, 1, 4, 4)) for size in sizes])
    assert snapshot(network) == before
    assert [module.training for module in network.modules()] == modes
    assert not network.bn1._forward_hooks


def test_a_layer_out_of_reach_keeps_its_moving_averages():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.auxiliary = (norm.BatchNormPerActivation(2) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.main(x) + self.auxiliary(x) if self.training else self.main(x)

    network = Branching()
    randomized(network.auxiliary, torch.float32)
    kept = network.auxiliary.running_mean.clone()
    norm.estimate_population_statistics(network, [torch.randn(4, 2)])
    assert torch.equal(network.auxiliary.running_mean, kept)
    assert network.main.running_mean.abs().min() > 0


# Folding


@pytest.mark.parametrize("bias", [True, False])
def test_fold_into(bias: bool):
    pairs = [
        (nn.Linear(4, 3, bias), norm.BatchNormPerActivation(3), (5, 4)),
        (
            nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=bias),
            norm.BatchNormPerFeatureMap(6),
            (5, 4, 7, 7),
        ),
    ]
    for layer, bn, shape in pairs:
        layer, bn = layer.double(), randomized(bn).eval()
        before = layer.weight.clone()
        folded, x = norm.fold_into(layer, bn), drawn(shape)
        assert type(folded) is type(layer)
        torch.testing.assert_close(folded(x), bn(layer(x)), rtol=1e-12, atol=1e-12)
        assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("layer", "bn"),
    [
        (nn.Conv2d(1, 2, 1), norm.BatchNormPerActivation(2, 4, 4)),
        (nn.Linear(4, 3), norm.BatchNormPerActivation(2)),
        (nn.Linear(4, 3), norm.BatchNormPerFeatureMap(3)),
        (nn.Conv2d(1, 2, 1), norm.BatchNormPerActivation(2)),
    ],
)
def test_fold_into_refuses(layer: nn.Linear | nn.Conv2d, bn: norm.BatchNorm):
    with pytest.raises(ValueError, match=r"cannot fold .* into .*one scale and shift"):
        norm.fold_into(layer, bn)


def test_fold():
    """Every BN that can be is folded, at any depth; the model itself stays as it was."""
    network = nn.Sequential(
        OrderedDict(
            tiny=nn.Sequential(nn.Conv2d(1, 2, 3), norm.BatchNormPerFeatureMap(2), nn.ReLU()),
            maps=nn.Sequential(nn.Conv2d(2, 3, 1), norm.BatchNormPerActivation(3, 2, 2)),
            apart=nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), norm.BatchNormPerFeatureMap(3)),
            flat=nn.Flatten(),
            fc=nn.Linear(12, 4, bias=False),
            bn=norm.BatchNormPerActivation(4),
        )
    ).double()
    layers = [module for module in network.modules() if isinstance(module, norm.BatchNorm)]
    for layer in layers:
        randomized(layer)
    before = snapshot(network)
    folded, x = norm.fold(network), drawn((5, 1, 4, 4))
    assert [type(folded.get_submodule(name)) for name in ("tiny.1", "maps.1", "apart.2", "bn")] == [
        nn.Identity,
        norm.BatchNormPerActivation,
        norm.BatchNormPerFeatureMap,
        nn.Identity,
    ]
    assert network.training
    assert snapshot(network) == before
    torch.testing.assert_close(folded(x), network.eval()(x), rtol=1e-12, atol=1e-12)


# The factories


@pytest.mark.parametrize("make", [norm.batch, norm.sync_batch])
def test_batch_norms(make: Callable[..., norm.Norm]):
    chosen = make(eps=1e-3, momentum=0.2)
    assert not chosen.bias
    made = [chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)]
    shapes = [(4, 5), (4, 3, 6, 6), (4, 3, 2, 2)]
    for layer, shape in zip(made, shapes, strict=True):
        assert isinstance(layer, norm.BatchNorm)
        assert (layer.eps, layer.momentum) == (1e-3, 0.2)
        assert (layer.fused, layer.synchronized) == (True, make is norm.sync_batch)
        plain = type(layer)(*layer.weight.shape, eps=1e-3, momentum=0.2)
        x = drawn(shape, torch.float32)
        assert torch.equal(layer(x), plain(x))  # no process group: the same also if synchronized
        torch.testing.assert_close(layer.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_batch_written_out():
    written = norm.batch(fused=False).fc(5)
    assert isinstance(written, norm.BatchNorm)
    assert not written.fused


def test_none():
    chosen = norm.none(eps=1e-3, momentum=0.2)
    assert chosen.bias
    x = torch.randn(1, 3, 2, 2)
    for layer in (chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)):
        assert layer(x) is x
        assert not list(layer.state_dict())
