"""Our SGD is PyTorch's, bit for bit, and takes its checkpoints."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from bn_repro.training.sgd import SGD


def parameters():
    """Of a convolution whose kernels lie channels-last, as Inception's do, and one never used."""
    generator = torch.Generator().manual_seed(0)
    shapes = (8, 4, 3, 3), (8,), (5, 7), (2,)
    made = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    made[0].data = made[0].data.to(memory_format=torch.channels_last)
    return made


def groups(made):
    return [
        {"params": [made[0], made[2]], "weight_decay": 0.01},
        {"params": [made[1], made[3]], "weight_decay": 0.0},
    ]


def train(optimizer, made, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        for p in made[:3]:
            p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator))
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / step
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_updates_as_pytorchs_does(momentum):
    ours, theirs = parameters(), parameters()
    train(SGD(groups(ours), lr=0.1, momentum=momentum), ours, range(1, 9))
    train(torch.optim.SGD(groups(theirs), lr=0.1, momentum=momentum), theirs, range(1, 9))
    assert not any(torch.equal(p, q) for p, q in zip(ours[:3], parameters(), strict=False))
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("before", [SGD, torch.optim.SGD])
def test_it_goes_on_from_either_state(before, momentum):
    whole, made = parameters(), parameters()
    train(SGD(groups(whole), lr=0.1, momentum=momentum), whole, range(1, 9))

    first = before(groups(made), lr=0.1, momentum=momentum)
    train(first, made, range(1, 5))
    second = SGD(groups(made), lr=0.1, momentum=momentum)
    second.load_state_dict(first.state_dict())
    train(second, made, range(5, 9))
    assert all(torch.equal(p, q) for p, q in zip(made, whole, strict=True))


def test_it_leaves_pytorchs_compiler_alone():
    """Which takes longer to import than a short run to train."""
    code = (
        "import sys, torch; from bn_repro.training.sgd import SGD\n"
        "p = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1)\n"
        "SGD([{'params': [p], 'weight_decay': 0.0}], lr=1.0).step()\n"
        "assert p.item() == 0 and 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
