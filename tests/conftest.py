"""What tests share: one thread a process, and short runs of section 4.1's network."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from filelock import FileLock
from installed import Installed, install
from support import WandbServer

from bn_repro.config.fields import variable_of
from bn_repro.config.schema import FROM_ENVIRONMENT

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it; pytest-xdist's own process needs no torch
for key in FROM_ENVIRONMENT:  # the user's own paths
    os.environ.pop(variable_of(key), None)
if "BN_REPRO_GPU" not in os.environ:  # device=auto is the CPU, whose numbers are the same each time
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``gpu`` where none is to be seen."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU; make gpu, where there is one")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own, made once for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            folder.mkdir()
            install(folder)
            (folder / "ready").touch()
    return Installed(folder)


@pytest.fixture
def apart(tmp_path, monkeypatch) -> None:
    """W&B keeps what artifacts hold beside the run, and knows no account."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def server(apart, monkeypatch) -> Iterator[WandbServer]:
    """A server of W&B's on this machine, to which what is sent goes."""
    import wandb

    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()  # it reads these once
    yield server
    wandb.teardown()
    server.close()
