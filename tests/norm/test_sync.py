"""Synchronized BN: two processes with unequal shares equal one with the joined mini-batch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support import Forked
from torch import Tensor, nn

from bn_repro import norm

SHARES = [slice(0, 5), slice(5, 8)]  # of 8 samples, by rank


def network(make: norm.Norm) -> nn.Sequential:
    """All three forms of BN, one above the other, in float64 and away from gamma 1, beta 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3, bias=False),
            make.conv(3),
            nn.Sigmoid(),
            nn.Conv2d(3, 2, 1, bias=False),
            make.per_activation(2, 2, 2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(8, 4, bias=False),
            make.fc(4),
        ).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    return model


def data() -> tuple[Tensor, Tensor]:
    """Inputs far from mean 0, and the weights of the outputs in the loss."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 2, 4, 4, generator=generator, dtype=torch.float64)
    return 100 + 2 * x, torch.randn(8, 4, generator=generator, dtype=torch.float64)


def one_step(model: nn.Module, share: slice) -> dict[str, Tensor]:
    """Outputs, gradients and statistics of a training step on `share`, then Algorithm 2's."""
    x, weights = (tensor[share] for tensor in data())
    x.requires_grad_()
    y = model(x)
    (weights * y**2).sum().backward()
    assert x.grad is not None
    results = {"y": y.detach(), "dx": x.grad}
    results |= {f"gradient {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    results |= {f"buffer {name}": buffer.clone() for name, buffer in model.named_buffers()}
    norm.estimate_population_statistics(model, [x.detach(), x.detach() ** 2 / 100])
    results |= {f"population {name}": buffer.clone() for name, buffer in model.named_buffers()}
    results["inference"] = model.eval()(x).detach()
    return results


def one_of_two(rank: int, directory: Path) -> None:
    """What each process does; the results are in a file."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    store = f"file://{directory / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=len(SHARES))
    results: dict[str, Any] = dict(one_step(network(norm.sync_batch()), SHARES[rank]))

    # One sample on each rank is a mini-batch of two; a rank may have none; one in all is refused,
    # by both: neither is left waiting.
    layer = norm.BatchNormPerActivation(1, synchronized=True).double()
    results["one each"] = layer(torch.full((1, 1), float(rank), dtype=torch.float64)).detach()
    results["variance of one each"] = layer.running_var
    model, share = network(norm.sync_batch()), slice(0, 8 * rank)
    x, weights = (tensor[share] for tensor in data())
    y = model(x)
    (weights * y**2).sum().backward()
    results["all on one"] = [y.detach(), *(p.grad for p in model.parameters()), *model.buffers()]
    for size in (0, rank):
        before = layer.num_batches_tracked.clone()
        with pytest.raises(ValueError, match="fewer than 2 values"):
            layer(torch.zeros(size, 1, dtype=torch.float64))
        assert torch.equal(layer.num_batches_tracked, before)
    with pytest.MonkeyPatch.context() as patched:
        asked = results["asked of the others"] = []
        calls = {name: getattr(dist, name) for name in ("all_gather", "all_reduce")}
        for name, call in calls.items():

            def counted(*arguments: Any, name: str = name, call: Any = call) -> None:
                asked.append(name)
                call(*arguments)

            patched.setattr(dist, name, counted)
        other = norm.BatchNormPerActivation(1, synchronized=True)
        other(torch.full((2, 1), float(rank), requires_grad=True)).sum().backward()
    with pytest.MonkeyPatch.context() as patched:  # inference is nobody else's business
        patched.setattr(F, "batch_norm", lambda x, *_: "kernel")
        assert layer.eval()(torch.zeros(0, 1)) == "kernel"

    # Not asked for, ranks keep statistics of their own.
    results["own"] = one_step(network(norm.batch(fused=False)), SHARES[rank])["y"]
    torch.save(results, directory / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("ranks")
    processes = [Forked(one_of_two, rank, directory) for rank in range(len(SHARES))]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return [torch.load(directory / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]


@pytest.fixture(scope="module")
def joined() -> dict[str, Tensor]:
    return one_step(network(norm.batch()), slice(None))


def test_outputs_are_those_of_the_joined_mini_batch(ranks, joined):
    for name in ("y", "inference"):
        found = torch.cat([results[name] for results in ranks])
        torch.testing.assert_close(found, joined[name], rtol=1e-9, atol=1e-10)


def test_gradients_sum_to_those_of_the_joined_mini_batch(ranks, joined):
    names = [name for name in joined if name.startswith("gradient")]
    assert len(names) == 9
    for name in names:
        found = ranks[0][name] + ranks[1][name]
        torch.testing.assert_close(found, joined[name], rtol=1e-8, atol=1e-9)
    found = torch.cat([results["dx"] for results in ranks])
    torch.testing.assert_close(found, joined["dx"], rtol=1e-8, atol=1e-9)


def test_moving_averages_and_population_statistics_are_those_of_the_joined_mini_batch(
    ranks, joined
):
    names = [name for name in joined if name.startswith(("buffer", "population"))]
    assert len(names) == 18
    for results in ranks:
        for name in names:
            torch.testing.assert_close(results[name], joined[name], rtol=1e-10, atol=1e-12)


def test_ranks_keep_their_own_statistics_unless_asked(ranks, joined):
    for results, share in zip(ranks, SHARES, strict=True):
        alone = one_step(network(norm.batch()), share)["y"]
        torch.testing.assert_close(results["own"], alone)
        assert not torch.allclose(results["own"], joined["y"][share], rtol=1e-3)


def test_one_sample_on_each_rank_is_a_mini_batch_of_two(ranks):
    """Of values 0 and 1, xhat = -1 and 1, and the moving average takes 0.1 of the variance 1/2."""
    for results, expected in zip(ranks, (-1.0, 1.0), strict=True):
        assert results["one each"].item() == pytest.approx(expected, rel=1e-4)
        assert results["variance of one each"].item() == pytest.approx(0.9 + 0.1 / 2)


def test_a_layer_exchanges_once_forward_and_once_backward(ranks):
    assert [results["asked of the others"] for results in ranks] == [
        ["all_gather", "all_reduce"]
    ] * 2


def test_a_rank_may_have_no_sample(ranks):
    """Of shares 0 and 8 the outputs, gradients and averages are those of one process with 8."""
    model, (x, weights) = network(norm.batch()), data()
    y = model(x)
    (weights * y**2).sum().backward()
    own, (other, *_) = ranks[1]["all on one"], ranks[0]["all on one"]
    expected = [y.detach(), *(p.grad for p in model.parameters()), *model.buffers()]
    assert other.shape == (0, 4)
    torch.testing.assert_close(own, expected, rtol=1e-8, atol=1e-9)
    buffers = len(list(model.buffers()))
    found = ranks[0]["all on one"][-buffers:]
    torch.testing.assert_close(found, expected[-buffers:], rtol=1e-8, atol=1e-9)
