"""How many runs a machine does at once, and which GPU each of them sees."""

import os
from types import SimpleNamespace

import pytest

from bn_repro.config.compose import compose
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import write_status
from bn_repro.sweep import local
from bn_repro.sweep.local import LocalExecutor, side_by_side
from bn_repro.sweep.planned import PlannedRun
from bn_repro.training.build import device_of
from bn_repro.training.world import World

MNIST = ["experiment=mnist/bn"]
SMALL = ["experiment=imagenet/bn_x5", "data=synthetic"]
PAPERS = ["experiment=imagenet/bn_x5", "scale=paper", "data.root=/nowhere"]


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many GPUs and cores."""

    def of(gpus, cores):
        monkeypatch.setattr(local, "gpu_count", lambda: gpus)
        monkeypatch.setattr("os.sched_getaffinity", lambda process: range(cores), raising=False)

    return of


@pytest.mark.parametrize(
    ("words", "gpus", "cores", "expected"),
    [
        (MNIST, 1, 16, 16),  # an mlp is faster on a core
        ([*MNIST, "device=cuda"], 1, 16, 4),
        (SMALL, 1, 16, 4),
        (SMALL, 2, 16, 8),
        (SMALL, 1, 3, 3),  # each needs a core too
        (SMALL, 8, 4, 8),
        (SMALL, 0, 4, 4),
        ([*SMALL, "device=cpu", "threads=2"], 1, 4, 2),
        (PAPERS, 8, 96, 8),
    ],
)
def test_runs_side_by_side(machine, words, gpus, cores, expected):
    machine(gpus, cores)
    assert side_by_side(compose(words)) == expected


def test_auto_leaves_an_mlp_on_a_core(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    found = [device_of(compose(words), World()).type for words in (MNIST, SMALL)]
    assert found == ["cpu", "cuda"]


def seen_by(monkeypatch, words, jobs, gpus):
    """What each of ``jobs`` runs at once sees of the GPUs, and its loader workers."""
    found = []

    class Here:
        def __init__(self, context, run, slot):
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            local.choose_gpu(slot, gpus if run.config.takes_gpu else 0)
            found.append((os.environ.get("CUDA_VISIBLE_DEVICES"), run.config.data.workers))

    monkeypatch.setattr(local, "Process", Here)
    monkeypatch.setattr(local, "process_context", lambda: object())
    executor, run = LocalExecutor(jobs), PlannedRun(compose(words), {})
    assert executor.has_room(run, jobs - 1)
    assert not executor.has_room(run, jobs)
    executor.start([run] * jobs, [])
    return found


def test_more_runs_than_gpus_go_round_them(machine, monkeypatch):
    machine(2, 16)
    gpus = [gpu for gpu, _ in seen_by(monkeypatch, SMALL, 5, 2)]
    assert gpus == ["0", "1", "0", "1", "0"]
    assert {gpu for gpu, _ in seen_by(monkeypatch, SMALL, 5, 1)} == {None}  # the only one
    assert {gpu for gpu, _ in seen_by(monkeypatch, MNIST, 5, 2)} == {None}


def test_loader_workers_are_no_more_than_the_cores(machine, monkeypatch):
    machine(8, 32)
    assert {workers for _, workers in seen_by(monkeypatch, PAPERS, 8, 8)} == {4}  # not 12 each
    assert {workers for _, workers in seen_by(monkeypatch, MNIST, 32, 8)} == {2}  # as configured


def test_a_run_that_failed_and_is_stopped_before_it_goes_on_was_stopped(monkeypatch, tmp_path):
    """Its status still says that it failed; the exit code says that this is of before."""
    run = PlannedRun(compose([*MNIST, f"runs={tmp_path}"]), {})
    run.directory.mkdir(parents=True)
    write_status(
        run.directory, Outcome("failed", 7, 1.0, error="its process ended: SIGKILL", cause="lost")
    )
    stopped = Outcome("preempted", 7, 1.0, cause="signal")
    monkeypatch.setattr("bn_repro.training.run.run", lambda *args, **options: stopped)
    with pytest.raises(SystemExit) as end:
        local._train(run, 0, 0)
    assert end.value.code == local.NOT_BEGUN
    process = object.__new__(local.Process)
    process.run = run
    ended = SimpleNamespace(exitcode=local.NOT_BEGUN)
    monkeypatch.setattr(process, "process", ended, raising=False)
    assert process.outcome(stopping=True) == Outcome("preempted", 7, 0.0)
