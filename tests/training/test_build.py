"""What a run asks of its process."""

import platform
import subprocess
import sys

import pytest

from bn_repro.config.compose import compose
from bn_repro.data.batches import Picture
from bn_repro.norm import BatchNorm
from bn_repro.training.build import build, network, validate
from bn_repro.training.world import World

NEW_PAGES = """
import resource, torch
from bn_repro.config.compose import compose
from bn_repro.training.build import configure_torch

def step():
    activations = [torch.ones(2**18) for _ in range(64)]

configure_torch(compose(["experiment=mnist/bn"]))
for times in 2, 10:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_a_step_frees_is_there_for_the_next():
    """By default it goes back to the system, and comes again as 160,000 new pages."""
    done = subprocess.run([sys.executable, "-c", NEW_PAGES], capture_output=True, check=True)
    assert int(done.stdout) < 5_000


def test_a_trial_of_a_synchronized_norm_waits_for_no_rank(monkeypatch):
    """Each rank has one example of a mini-batch of two; here no other rank answers."""
    monkeypatch.setattr(BatchNorm, "_joins_ranks", lambda self: self.training and self.synchronized)
    words = ["experiment=mnist/bn", "scale=smoke", "model.norm=sync_batch", "train.batch_size=1"]
    config = compose(words)
    model, data = build(config)
    validate(config, model, data, World(0, 2))
    with pytest.raises(ValueError, match=r"^train\.batch_size: "):
        validate(config, model, data, World(0, 1))


def test_the_recurrent_network_refuses_pictures_that_are_not_square(monkeypatch):
    """16 x 25 pixels are a square number of them."""
    config = compose(["experiment=mnist/recurrent", "scale=smoke"])
    _, data = build(config)
    monkeypatch.setattr(data, "shape", (400,))
    monkeypatch.setattr(data, "picture", Picture((1, 16, 25)))
    with pytest.raises(ValueError, match="reads square ones"):
        network(config, data)
