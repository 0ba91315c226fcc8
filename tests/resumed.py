"""Short runs that are stopped, and whether two runs ended alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from bn_repro.config.compose import compose
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.stop_signal import StopFlag
from bn_repro.training import checkpoint
from bn_repro.training.run import run

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=120", "train.checkpoint_every=30"]


def silent(line: str) -> None:
    pass


def config_of(runs: Path, *words: str):
    return compose([*SMOKE, f"runs={runs}", *words])


def rows(directory: Path, name: str = paths.METRICS) -> list[dict]:
    """Those of a file of a run."""
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.load_latest(directory / paths.CHECKPOINTS)
    assert state is not None
    return state["model"] | {
        f"momentum{k}.{name}": value
        for k, entry in state["optimizer"]["state"].items()
        for name, value in entry.items()
        if torch.is_tensor(value)
    }


def assert_same_run(one: Path, other: Path) -> None:
    for name in (paths.METRICS, paths.TRACES, paths.HISTOGRAMS, paths.CORRECT):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    mine, its = weights(one), weights(other)
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[key], its[key]) for key in mine)


def stopped(config: Config, step: int, log: Callable[[str], None] = silent) -> Outcome:
    """The outcome of a run that is asked to stop from a step on, as by a signal."""
    stop = StopFlag()

    def progress(at: int, values: object) -> None:
        if at >= step:
            stop.name = "SIGTERM"

    return run(config, log=log, stop=stop, progress=progress)
