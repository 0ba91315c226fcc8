"""Whole runs by each engine that a GPU has: traced, evaluated, stopped and resumed.

``make gpu`` runs them where there is one; a graph's bookkeeping is tested on the CPU too, with
another means of recording a step.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from resumed import rows, silent, stopped
from support import ROOT
from training.samples import graphed

from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.records import paths
from bn_repro.training.build import build
from bn_repro.training.optimizer import PolyakAverage, sgd
from bn_repro.training.run import run
from bn_repro.training.step import ENGINES

INCEPTION = ["experiment=imagenet/inception", "scale=smoke", "train.polyak=0.1"]  # with dropout


def trained(runs: Path, *words: str, stop_at: tuple[int, ...] = ()) -> Path:
    """A finished run's directory; it was stopped at these steps, and resumed."""
    config = compose([*INCEPTION, *words, f"runs={runs}"])
    for step in stop_at:
        outcome = stopped(config, step)
        assert (outcome.state, outcome.step) == ("preempted", step)
    assert run(config, log=silent).state == "completed"
    return directory_of(config)


def test_a_run_of_replayed_steps_has_the_records_of_an_eager_one(tmp_path, monkeypatch):
    expected = trained(tmp_path / "eager")
    monkeypatch.setitem(ENGINES, "eager", graphed)
    for found in (trained(tmp_path / "whole"), trained(tmp_path / "cut", stop_at=(6,))):
        for name in (paths.METRICS, paths.TRACES, paths.HISTOGRAMS, paths.CORRECT):
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["eager", "graphed"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_a_gpu_resumes_and_agrees_with_the_eager_one(tmp_path, engine, precision):
    words = [f"train.precision={precision}", "device=cuda"]
    expected = trained(tmp_path / "eager", *words)
    found = trained(tmp_path / "cut", *words, f"train.engine={engine}", stop_at=(4, 6))
    manifest = json.loads((found / paths.MANIFEST).read_text())
    assert (manifest["device"], manifest["engine"]) == ("cuda", engine)
    for name in (paths.METRICS, paths.TRACES, paths.HISTOGRAMS):
        mine, its = rows(found, name), rows(expected, name)
        keys = ("step", "split", "statistics", "site", "unit")
        assert [[r.get(k) for k in keys] for r in mine] == [[r.get(k) for k in keys] for r in its]
        assert all(math.isfinite(v) for r in mine for v in r.values() if isinstance(v, float))
    losses = [[r["loss"] for r in rows(d)] for d in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if precision == "float32" else 1e-1)


@pytest.mark.gpu
def test_a_gpu_trains_as_the_cpu(tmp_path):
    losses = []
    for device in ("cpu", "cuda"):
        found = trained(tmp_path / device, f"device={device}", "model.dropout=0.0")
        losses.append([r["loss"] for r in rows(found)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.gpu
def test_float32_on_a_gpu_is_float32():
    """Whatever the environment says when the process begins: TF32 would be wrong by 3e-4."""
    code = """
import torch
from bn_repro.config.compose import compose
from bn_repro.training.build import configure_torch
configure_torch(compose(["experiment=imagenet/bn_x5", "data=synthetic"]))
a, b = torch.randn(2, 512, 512, dtype=torch.float64, device="cuda")
x, w = torch.randn(8, 64, 16, 16, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
conv = torch.nn.functional.conv2d
for found, exact in (
    (a.float() @ b.float(), a.float().double() @ b.float().double()),
    (conv(x, w), conv(x.double(), w.double())),
):
    assert (found - exact).norm() / exact.norm() < 1e-5
"""
    environment = os.environ | {
        "NVIDIA_TF32_OVERRIDE": "1",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sys.path))),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_neither_a_step_nor_its_average_waits_for_the_gpu():
    """Not to fill the queue of launches costs more than the launches."""
    config = compose([*INCEPTION, "device=cuda"])
    model, data = build(config)
    model = model.to("cuda").train()
    engine = ENGINES["graphed"](model, sgd(model, config), "float32")
    average = PolyakAverage(model, 0.1)
    batches = data.train_batches(seed=0, first_step=1, steps=9, batch_size=32, device="cuda")
    try:
        for step, (x, y) in enumerate(batches, start=1):
            engine(x, y)
            average.update()
            if step == 6:  # recorded by then
                torch.cuda.set_sync_debug_mode("error")
    finally:
        torch.cuda.set_sync_debug_mode("default")
