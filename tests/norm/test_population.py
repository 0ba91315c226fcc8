"""Algorithm 2, line 10: by hand, through networks, and where it cannot be."""

from __future__ import annotations

import pytest
import torch
from norm.layers import drawn, randomized, snapshot
from torch import Tensor, nn

from bn_repro import norm
from bn_repro.norm.population import normalizing_by_mini_batch


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


def test_normalizing_by_mini_batch_is_of_bn_alone_and_leave_no_trace():
    """Within the block an output depends on the mini-batch, but not by dropout."""
    network, x = Tiny(), drawn((6, 1, 4, 4))
    before = snapshot(network)
    with normalizing_by_mini_batch(network):
        once, again, fewer = network(x), network(x), network(x[:4])
    assert torch.equal(once, again)
    assert not torch.allclose(once[:4], fewer)
    assert snapshot(network) == before
    assert network.training
    with pytest.raises(ValueError, match="no BN layer"), normalizing_by_mini_batch(nn.Linear(2, 2)):
        pass


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


def test_a_layer_applied_twice_counts_each_time_with_its_own_m():
    """Values 1, 3 (m 2, var 1) and 0, 0, 6, 6 (m 4, var 9): Var[x] = (2/1 * 1 + 4/3 * 9) / 2."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = norm.BatchNormPerFeatureMap(1).double()

        def forward(self, x: Tensor) -> Tensor:
            self.bn(torch.tensor([0.0, 0, 6, 6], dtype=x.dtype).view(2, 1, 1, 2))
            return self.bn(x)

    model = Twice()
    norm.estimate_population_statistics(model, [torch.tensor([1.0, 3]).double().view(2, 1, 1, 1)])
    assert model.bn.running_mean.tolist() == [2.5]
    assert model.bn.running_var.tolist() == pytest.approx([7.0], rel=1e-15)


def test_pairs_are_taken_too():
    pairs, inputs = norm.BatchNormPerActivation(5), norm.BatchNormPerActivation(5)
    batches = [drawn((7, 5), torch.float32) for _ in range(3)]
    norm.estimate_population_statistics(inputs, batches)
    norm.estimate_population_statistics(pairs, [(x, torch.arange(7)) for x in batches])
    torch.testing.assert_close(pairs.state_dict(), inputs.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))])
def test_a_model_without_a_layer_of_ours_is_refused(model: nn.Module):
    for take in (
        lambda: norm.estimate_population_statistics(model, [torch.randn(4, 2)]),
        lambda: norm.fold(model.eval()),
    ):
        with pytest.raises(ValueError, match="no BN layer of bn_repro.norm; from_torch converts"):
            take()
