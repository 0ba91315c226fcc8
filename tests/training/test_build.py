"""What a run asks of its process."""

import platform
import subprocess
import sys

import pytest

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
