"""Two ranks: one network, each sample once, one writer, and exact resume.

One run is under torchrun; those of the others are started here with what torchrun tells them.
"""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from support import ROOT, Forked, train

from bn_repro import checkpoint, rundir
from bn_repro.compose import compose
from bn_repro.config import run_id
from bn_repro.experiment import run

WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=40", "train.checkpoint_every=10"]


def directory_of(runs, *words):
    config = compose([*WORDS, *words])
    return rundir.run_directory(runs, config.experiment, run_id(config, world=2), 0)


def torchrun(runs, *words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    call = [*command, "scripts/train.py", *WORDS, f"runs={runs}", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def ranks(runs, *words):
    """What two ranks say together, and where their run lies."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    every = [*WORDS, f"runs={runs}", *words]
    begun = [Forked(train, every, {"RANK": k, "LOCAL_RANK": k, **env}) for k in "01"]
    said = [process.communicate() for process in begun]
    assert [process.returncode for process in begun] == [0, 0], said
    return "".join(out for out, _ in said), directory_of(runs, *words)


def rows(directory):
    return [json.loads(line) for line in (directory / rundir.METRICS).read_text().splitlines()]


def state(directory):
    found = checkpoint.load_latest(directory / rundir.CHECKPOINTS)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def synchronized(tmp_path_factory):
    words = ["train.batch_size=30", "model.norm=sync_batch"]
    return ranks(tmp_path_factory.mktemp("ranks"), *words)


def test_synchronized_ranks_train_as_one_process_on_the_joined_batch(synchronized, tmp_path):
    _, directory = synchronized
    alone = compose([*WORDS, f"runs={tmp_path}", "train.batch_size=60"])
    run(alone, say=lambda line: None)
    one = state(rundir.run_directory(tmp_path, "mnist/bn", run_id(alone), 0))
    two = state(directory)
    for key, value in one["model"].items():
        torch.testing.assert_close(two["model"][key], value, rtol=1e-4, atol=1e-5)
    mine = rows(rundir.run_directory(tmp_path, "mnist/bn", run_id(alone), 0))
    for a, b in zip(mine, rows(directory), strict=True):
        assert (a["step"], a["split"], a["statistics"]) == (b["step"], b["split"], b["statistics"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_evaluation_counts_every_sample_once(synchronized):
    _, directory = synchronized
    for row in rows(directory):
        if row["split"] == "test":
            assert row["top1"] * 10_000 == pytest.approx(round(row["top1"] * 10_000), abs=1e-6)
            assert row["top1"] > 0.3


def test_rank_0_alone_writes_and_speaks(synchronized):
    out, directory = synchronized
    assert out.count("completed at step 40") == 1
    steps = [r["step"] for r in rows(directory) if r["split"] == "train"]
    assert steps == [10, 20, 30, 40]
    assert json.loads((directory / rundir.MANIFEST).read_text())["world"] == 2


def test_replicas_keep_their_own_statistics_and_resume_exactly(tmp_path):
    words = ["train.batch_size=30", "train.steps=200", "train.checkpoint_every=20"]
    _, whole = ranks(tmp_path / "whole", *words)
    replicas = state(whole)["replicas"]
    assert len(replicas) == 2
    assert not torch.equal(*replicas)

    process, cut = torchrun(tmp_path / "cut", *words), directory_of(tmp_path / "cut", *words)
    status = cut / rundir.STATUS
    while not status.exists() or json.loads(status.read_text())["step"] < 20:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    stopped = json.loads(status.read_text())
    assert stopped["state"] == "preempted"
    assert 20 <= stopped["step"] < 200
    ranks(tmp_path / "cut", *words)
    assert (cut / rundir.METRICS).read_bytes() == (whole / rundir.METRICS).read_bytes()
    again = state(cut)["replicas"]
    assert all(torch.equal(a, b) for a, b in zip(replicas, again, strict=True))
