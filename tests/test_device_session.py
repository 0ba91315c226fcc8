"""Studies on a lent machine: stopped in time, and the records of what finished brought home."""

import json
import os
import runpy
import subprocess
import sys
import tarfile
import time

import pytest
from support import ROOT

from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import write_status
from bn_repro.training.run import run

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "device_session.py"), run_name="device_session")
SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=4", "train.population_batches=0"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of a finished run and of one that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    assert run(compose([*SMOKE, f"runs={folder}"]), log=lambda line: None).state == "completed"
    stopped = directory_of(compose([*SMOKE, f"runs={folder}", "seed=1"]))
    stopped.mkdir()
    write_status(stopped, Outcome("preempted", 2, 0.1))
    return folder


def names(archive):
    with tarfile.open(archive) as opened:
        return opened.getnames()


def test_the_records_of_finished_runs_are_packed_without_checkpoints(runs, tmp_path):
    (line,) = SCRIPT["pack"](runs, tmp_path)
    assert line.startswith("records-0.tar.xz: 1 runs, ")
    directory = directory_of(compose([*SMOKE, f"runs={runs}"]))
    packed = names(tmp_path / "records-0.tar.xz")
    records = [path for path in directory.iterdir() if path.is_file()]
    assert sorted(packed) == sorted(str(path.relative_to(runs)) for path in records)
    assert (directory / paths.CHECKPOINTS).is_dir()


def test_an_archive_that_is_too_large_goes_without_traces(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(SCRIPT["pack"].__globals__, "ARCHIVE_BYTES", 100)
    (line,) = SCRIPT["pack"](runs, tmp_path)
    assert line.endswith(", without traces and histograms")
    large = (paths.TRACES, paths.HISTOGRAMS)
    assert not [name for name in names(tmp_path / "records-0.tar.xz") if name.endswith(large)]


def test_a_summary_has_a_line_for_each_command(runs, tmp_path):
    (lane,) = SCRIPT["lanes_of"](["study=fig1 scale=smoke ; " + " ".join(SMOKE)], runs, tmp_path)
    (quoted,) = SCRIPT["lanes_of"](["study=norms 'study.only=[MNIST rates]'"], runs, tmp_path)
    assert quoted.waiting[0].words[1] == "study.only=[MNIST rates]"
    study, one = SCRIPT["summary"]([lane], ["MPS: on"]).splitlines()[1:3]
    assert study.split()[0] == "0/2"
    assert one.split()[0] == "1/1"
    assert one.endswith("  " + " ".join(SMOKE))
    with pytest.raises(ValueError, match=r"^train\.steps: -1 is not a whole number"):
        SCRIPT["lanes_of"](["experiment=mnist/bn train.steps=-1"], runs, tmp_path)


def test_what_is_at_work_is_asked_to_stop_and_what_waits_does_not_begin(tmp_path, monkeypatch):
    class Sleep(SCRIPT["Command"]):
        def start(self):
            code = "import time, signal, sys; signal.signal(15, lambda *_: sys.exit(75)); print()"
            command = [sys.executable, "-uc", code + "; time.sleep(60)"]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert self.process.stdout is not None
            with self.process.stdout as said:
                said.readline()  # its handler is set

        def row(self):
            return ""

    first, second = (Sleep([], tmp_path / name) for name in "ab")
    lane = SCRIPT["Lane"]([first, second])
    SCRIPT["work"]([lane], time.monotonic() + 0.1)
    assert first.process.returncode == 75
    assert second.process is None


@pytest.mark.parametrize("works", [True, False])
def test_the_gpu_is_shared_where_that_works(tmp_path, monkeypatch, works):
    daemon = tmp_path / "nvidia-cuda-mps-control"
    daemon.write_text(f'#!/bin/sh\n[ "$1" ] && (sleep 5 &) || cat >> {tmp_path}/asked\n')
    daemon.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    shared = SCRIPT["shared_gpu"]
    probe = "import os; assert os.environ['CUDA_MPS_PIPE_DIRECTORY']; "
    probe += "print('on the GPU')" if works else "raise SystemExit('no such device')"
    monkeypatch.setitem(SCRIPT["pack"].__globals__, "PROBE", probe)
    with shared(tmp_path) as how:
        assert ("CUDA_MPS_PIPE_DIRECTORY" in os.environ) == works
    assert how == "MPS: on" if works else how.endswith(": no such device")
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert (tmp_path / "asked").read_text() == "quit\n"


def test_a_commit_can_be_named_where_there_is_no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for said, expected in (("12ab-dirty", ("12ab", True)), ("12ab", ("12ab", False))):
        monkeypatch.setenv("BN_REPRO_COMMIT", said)
        config = compose([*SMOKE, f"runs={tmp_path / said}"])
        run(config, log=lambda line: None)
        manifest = json.loads((directory_of(config) / paths.MANIFEST).read_text())
        assert (manifest["commit"], manifest["dirty"]) == expected
