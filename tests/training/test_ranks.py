"""Two ranks: one network, each sample once, one writer, and exact resume.

One run is under torchrun; those of the others are started here with what torchrun tells them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from filelock import FileLock
from resumed import rows
from support import ROOT, Forked, answers_of, call, train
from torch import nn

from bn_repro import stop_signal
from bn_repro.cli import main
from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.norm import BatchNormPerActivation
from bn_repro.norm.outside_gradient import MiniBatchNorm
from bn_repro.records import paths
from bn_repro.records.reader import Outcome, last_top1
from bn_repro.records.recorder import write_status
from bn_repro.training import build, checkpoint, lost_rank, multi_crop
from bn_repro.training import ranks as ranks_module
from bn_repro.training import run as run_module
from bn_repro.training.run import run
from bn_repro.training.world import World, launched_world

WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=40", "train.checkpoint_every=10"]


def directory_of(runs, *words):
    config = compose([*WORDS, *words])
    return paths.run_directory(runs, config.experiment, run_id(config, world=2), 0)


def torchrun(runs, *words, script="scripts/train.py"):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    call = [*command, script, *WORDS, f"runs={runs}", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def begun(runs, *words, function=train):
    """Two ranks, at work."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    every = [*WORDS, f"runs={runs}", *words]
    return [Forked(function, every, {"RANK": k, "LOCAL_RANK": k, **env}) for k in "01"]


def ended(processes, code=0):
    """What they said together."""
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [code] * 2, said
    return "".join(out + err for out, err in said)


def ranks(runs, *words, code=0):
    """What two ranks say together, and where their run lies."""
    return ended(begun(runs, *words), code), directory_of(runs, *words)


def state(directory):
    found = checkpoint.load_latest(directory / paths.CHECKPOINTS)
    assert found is not None
    return found


JOINT = ["train.batch_size=30", "model.norm=sync_batch"]


@pytest.fixture(scope="module")
def synchronized(tmp_path_factory):
    """What two ranks say that train one network with joint statistics, and where it lies."""
    return ranks(tmp_path_factory.mktemp("ranks"), *JOINT)


def test_synchronized_ranks_train_as_one_process_on_the_joined_batch(synchronized, tmp_path):
    _, directory = synchronized
    alone = compose([*WORDS, f"runs={tmp_path}", "train.batch_size=60"])
    run(alone, log=lambda line: None)
    one = state(paths.run_directory(tmp_path, "mnist/bn", run_id(alone), 0))
    two = state(directory)
    for key, value in one["model"].items():
        torch.testing.assert_close(two["model"][key], value, rtol=1e-4, atol=1e-5)
    mine = rows(paths.run_directory(tmp_path, "mnist/bn", run_id(alone), 0))
    for a, b in zip(mine, rows(directory), strict=True):
        assert (a["step"], a["split"], a["statistics"]) == (b["step"], b["split"], b["statistics"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_evaluation_counts_every_sample_once(synchronized):
    _, directory = synchronized
    for row in rows(directory):
        if row["split"] == "test":
            assert row["top1"] * 10_000 == pytest.approx(round(row["top1"] * 10_000), abs=1e-6)
            assert row["top1"] > 0.3
    right = answers_of(directory)
    assert right["last_seen"].all()
    assert right["last"].sum() == round(10_000 * (last_top1(directory) or 0))


def test_rank_0_alone_writes_and_speaks(synchronized):
    out, directory = synchronized
    assert out.count("completed at step 40") == 1
    steps = [r["step"] for r in rows(directory) if r["split"] == "train"]
    assert steps == [10, 20, 30, 40]
    assert json.loads((directory / paths.MANIFEST).read_text())["world"] == 2


def test_each_rank_keeps_the_running_statistics_of_any_norm():
    own = MiniBatchNorm(2, eps=1e-5, momentum=0.1, scales=True, constant=False)
    usual = BatchNormPerActivation(2)
    model = nn.Sequential(nn.Linear(3, 2), usual, own)
    for k, layer in enumerate((usual, own)):
        layer.running_mean += 10 * k + 1
        layer.running_var += 10 * k + 2
    kept = ranks_module._flat_moving_averages(model)
    assert kept.tolist() == [1, 1, 3, 3, 11, 11, 13, 13]
    assert "weight" in dict(own.named_parameters())  # which are not among them


STOPPED_AT_20 = """
import os, signal, time
from bn_repro.cli.main import main
from bn_repro.training.loop import Run

save = Run.save

def save_and_be_stopped(run):
    save(run)
    if run.state.step == 20 and run.session.world.main:
        os.kill(os.getppid(), signal.SIGTERM)  # torchrun, which tells its ranks
        while not run.session.stop:
            time.sleep(0.01)

Run.save = save_and_be_stopped
main("train")
"""
"""As scripts/train.py; at step 20 torchrun is stopped, and the first rank waits to hear of it."""


def test_replicas_keep_their_own_statistics_and_resume_exactly(tmp_path):
    words = ["train.batch_size=30", "train.steps=200", "train.checkpoint_every=20"]
    _, whole = ranks(tmp_path / "whole", *words)
    replicas = state(whole)["replicas"]
    assert len(replicas) == 2
    assert not torch.equal(*replicas)

    script = tmp_path / "train.py"
    script.write_text(STOPPED_AT_20)
    process = torchrun(tmp_path / "cut", *words, script=script)
    said = process.communicate()
    cut = directory_of(tmp_path / "cut", *words)
    stopped = json.loads((cut / paths.STATUS).read_text())
    assert (stopped["state"], stopped["step"]) == ("preempted", 30), said  # the next ranks agree at
    ranks(tmp_path / "cut", *words)
    assert (cut / paths.METRICS).read_bytes() == (whole / paths.METRICS).read_bytes()
    again = state(cut)["replicas"]
    assert all(torch.equal(a, b) for a, b in zip(replicas, again, strict=True))


def test_algorithm_2_sees_the_joined_batches_where_statistics_are_joint(tmp_path):
    words = ["train.batch_size=30", "train.steps=2", "train.population_batches=3"]
    _, directory = ranks(tmp_path, *words, "model.norm=sync_batch")
    own = next(r for r in rows(directory) if r["statistics"] == "population")
    config = compose([*WORDS, *words, "model.norm=sync_batch", f"runs={tmp_path}"])
    asked = replace(config.evaluation, world=2, statistics="population")
    row = multi_crop.evaluate_run(replace(config, evaluation=asked), 1)
    assert row["loss"] == pytest.approx(own["loss"], rel=1e-6)
    assert row["top1"] == own["top1"]


def test_a_diverged_run_has_no_trace_beyond_its_end(tmp_path):
    words = ["experiment=mnist/baseline", "optimizer.lr=1e36", "train.log_every=20"]
    _, directory = ranks(tmp_path, *words, "train.trace_dense=40")
    status = json.loads((directory / paths.STATUS).read_text())
    assert status["state"] == "diverged"
    traced = [json.loads(x)["step"] for x in (directory / paths.TRACES).read_text().splitlines()]
    assert 0 < max(traced) <= status["step"] < 20


def test_other_data_are_told_by_every_rank_in_a_line(synchronized, tmp_path):
    directory = directory_of(tmp_path, *JOINT)
    shutil.copytree(synchronized[1], directory)
    write_status(directory, Outcome("preempted", 20, 1.0))
    manifest = json.loads((directory / paths.MANIFEST).read_text())
    (directory / paths.MANIFEST).write_text(json.dumps(manifest | {"data": "0" * 64}))
    said, _ = ranks(tmp_path, *JOINT, code=2)
    assert "the run was begun on data 0000000000000000" in said
    assert "Traceback" not in said


def test_ranks_wait_together_for_another_process_and_any_of_them_can_end_it(tmp_path):
    directory = directory_of(tmp_path)
    directory.parent.mkdir(parents=True)
    with FileLock(paths.lock_file(directory)):
        first, second = begun(tmp_path)
        assert first.stdout.readline().startswith("mnist/bn seed 0: 40 steps")
        assert "another process is training this run; waiting" in first.stdout.readline()
        second.terminate()
        ended([first, second], main.PREEMPTED)
    assert not directory.exists()


def train_and_soon_miss_others(words, env):
    """As train.py, with a limit of seconds for what a silent rank is waited for."""
    lost_rank.LIMIT_SECONDS, lost_rank.POLL_SECONDS = 6, 0.2
    train(words, env)


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_rank_that_is_stopped_is_named_in_time_and_the_other_ends(tmp_path, frozen):
    words = ["train.steps=100000", "train.checkpoint_every=50", "train.eval_every=100000"]
    directory = directory_of(tmp_path, *words)
    processes = begun(tmp_path, *words, function=train_and_soon_miss_others)
    while not list(directory.glob("checkpoints/*.pt")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    processes[frozen].stop()
    try:
        out, err = processes[1 - frozen].communicate()
    finally:
        for process in processes:
            process.kill()  # as a launcher does in the end
    assert processes[1 - frozen].returncode == 1, (out, err)
    said = f"rank {frozen} on {socket.gethostname()} has not answered for 6 s: it was stopped, or"
    assert err.splitlines()[-1].startswith(f"error: {said}")
    assert "Traceback" not in err
    assert "c10d" not in err
    status = json.loads((directory / paths.STATUS).read_text())
    assert (status["state"], status["cause"]) == ("failed", "lost")
    assert said in status["error"]


class Polls:
    """What the watching thread waits by; at each poll the heartbeats become what ``sent`` gives."""

    def __init__(self, heartbeats, sent, count):
        self.heartbeats, self.sent, self.left = heartbeats, sent, count

    def wait(self, seconds):
        self.left -= 1
        self.heartbeats[:] = self.sent(self.left)
        return self.left == 0


@pytest.mark.parametrize(
    ("second", "named"),
    [(lambda k: b"host %d" % k, 0), (lambda k: lost_rank.LEFT, 0), (lambda k: b"host 7", 1)],
    ids=["at long work", "has taken its leave", "silent"],
)
def test_only_a_silent_rank_is_lost(second, named):
    lost, heartbeats = [], [b"", b""]
    polls = Polls(heartbeats, lambda k: [b"here %d" % k, second(k)], count=200)
    lost_rank._watch_heartbeats(World(0, 2), heartbeats, polls, lost.append)  # pyright: ignore
    assert len(lost) == named


def train_and_stop_rank_1_early(words, env):
    """As train.py, with a signal to the second rank alone, while it makes its data."""
    built = run_module.build

    def build_and_be_stopped(config):
        if env["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
            stop_signal.check()  # as decoding does
        return built(config)

    run_module.build = build_and_be_stopped
    train(words, env)


def test_ranks_stop_together_where_one_is_asked_to_before_its_first_step(tmp_path):
    said = ended(begun(tmp_path, function=train_and_stop_rank_1_early), main.PREEMPTED)
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert not directory_of(tmp_path).exists()


@pytest.mark.parametrize("env", [{"RANK": "0"}, {"RANK": "a", "WORLD_SIZE": "2"}, {"RANK": ""}])
def test_half_a_world_is_told(monkeypatch, capsys, tmp_path, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    code, _, err = call(monkeypatch, capsys, *WORDS, f"runs={tmp_path}")
    assert code == 2
    assert err.startswith(f"error: RANK={env['RANK']}, WORLD_SIZE=")
    assert "without it leave RANK unset" in err


def test_ranks_that_do_not_meet_are_one_line(monkeypatch):
    def alone(backend):
        raise dist.DistNetworkError("timed out after 60 s\nframe #0: c10d")

    monkeypatch.setattr(dist, "init_process_group", alone)
    monkeypatch.setenv("MASTER_ADDR", "node7")
    said = "rank 1 of 2 did not meet the others at MASTER_ADDR=node7: timed out after 60 s$"
    with (
        pytest.raises(ConnectionError, match=said),
        ranks_module.process_group(World(1, 2), torch.device("cpu")),
    ):
        pass


def test_the_world_of_a_launcher_that_says_little(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launched_world() == World(3, 4, 1, 1)


def test_a_finished_run_is_found_by_its_ranks(synchronized):
    _, directory = synchronized
    before = (directory / paths.STATUS).read_bytes()
    said, _ = ranks(directory.parents[2], *JOINT)
    assert said.count(f"{directory}: already completed at step 40") == 1
    assert (directory / paths.STATUS).read_bytes() == before


def test_an_average_of_weights_is_for_one_rank(tmp_path):
    said, _ = ranks(tmp_path, "train.polyak=0.1", code=2)
    assert "train.polyak: works with one rank, and here are 2" in said


def test_the_first_rank_to_fail_tells_why(tmp_path):
    write_status(tmp_path, Outcome("running", 3, 1.0))
    run_module.record_failure(tmp_path, ValueError("n01/bad.JPEG: not an image"), World(1, 2))
    run_module.record_failure(tmp_path, RuntimeError("Connection closed by peer"), World(0, 2))
    status = json.loads((tmp_path / paths.STATUS).read_text())
    assert (status["state"], status["error"]) == (
        "failed",
        "ValueError: n01/bad.JPEG: not an image",
    )
    assert "bad.JPEG" in (tmp_path / paths.TRACEBACK).read_text()


def test_each_rank_has_a_gpu_of_its_own_before_they_meet(monkeypatch):
    met = []
    monkeypatch.setattr("torch.cuda.set_device", met.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: met.append(how))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(ranks_module, "watched_ranks", lambda *which: nullcontext())
    gpu = torch.device("cuda", 1)
    with ranks_module.process_group(World(1, 2, 1), gpu):
        assert met == [gpu, {"device_id": gpu}]


@pytest.mark.parametrize(
    ("device", "failed", "left"),
    [("cpu", False, 1), ("cpu", True, 1), ("cuda:0", False, 1), ("cuda:0", True, 0)],
)
def test_a_rank_that_failed_does_not_wait_for_the_others(monkeypatch, device, failed, left):
    """Which is what taking leave of NCCL is."""
    times = []
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: times.append(1))
    monkeypatch.setattr(ranks_module, "watched_ranks", lambda *which: nullcontext())
    with ranks_module.process_group(World(0, 2), torch.device(device)) as group:
        group.failed = failed
    assert len(times) == left
    times.clear()

    def interrupted():
        with ranks_module.process_group(World(0, 2), torch.device(device)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(times) == (device == "cpu")


def test_a_rank_without_a_gpu_of_its_own_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    config = compose([*WORDS, "device=cuda"])
    assert build.device_of(config, World(1, 3, 1)) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="rank 2 of this machine finds 2 GPU"):
        build.device_of(config, World(2, 3, 2))
