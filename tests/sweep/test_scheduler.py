"""A study under signals: what is running stops in order, what is killed harms no other."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver

import pytest
from support import ROOT, call

from bn_repro.config.compose import compose
from bn_repro.sweep.local import Process, process_context
from bn_repro.sweep.planned import PlannedRun

WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=200000", "train.checkpoint_every=50"]
WORDS += ["train.eval_every=100000"]


@pytest.fixture
def start():
    """Begin a sweep as a user would; none outlives its test."""
    begun = []

    def start(runs, *words):
        command = [sys.executable, "scripts/train.py", "-m", *WORDS, "seed=0,1,2", f"runs={runs}"]
        pipe = subprocess.PIPE
        options = {"stdout": pipe, "stderr": pipe, "text": True, "start_new_session": True}
        begun.append(subprocess.Popen([*command, *words], cwd=ROOT, **options))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def statuses(runs):
    paths = sorted(runs.glob("mnist/bn-*/seed*/status.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def wait_for_two(runs, process):
    for _ in range(60000):
        if len([s for s in statuses(runs).values() if s["step"] >= 50]) == 2:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("two runs did not begin within ten minutes")


@pytest.mark.parametrize("to", ["parent", "group"])
def test_ctrl_c_stops_all_runs_in_order(start, tmp_path, to):
    process = start(tmp_path, "hydra.launcher.jobs=2")
    wait_for_two(tmp_path, process)
    if to == "group":  # as a terminal does
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, out + err
    assert "Traceback" not in out + err
    found = statuses(tmp_path)
    assert [s["state"] for s in found.values()] == ["preempted"] * 2
    assert "stopped; run the same command again to go on" in out


def test_a_killed_run_harms_no_other(start, tmp_path, monkeypatch, capsys):
    words = ["hydra.launcher.jobs=2", "train.steps=3000", "seed=0,1"]
    process = start(tmp_path, *words)
    wait_for_two(tmp_path, process)
    youngest = subprocess.run(  # a run, not the server
        ["pgrep", "-n", "-g", str(process.pid), "-f", "forkserver"], capture_output=True, text=True
    ).stdout
    os.kill(int(youngest), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    states = sorted(s["state"] for s in statuses(tmp_path).values())
    assert states == ["completed", "failed"]
    assert "its process ended: SIGKILL" in out
    again = call(monkeypatch, capsys, "-m", *WORDS, *words, f"runs={tmp_path}")
    assert again[0] == 0, again


def test_a_server_of_processes_that_is_killed_costs_no_run(tmp_path, monkeypatch):
    context, answer = process_context(), forkserver.read_signed
    server = forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]
    os.kill(server, signal.SIGSTOP)

    def killed_before_it_answers(pipe):
        monkeypatch.undo()
        os.kill(server, signal.SIGKILL)
        return answer(pipe)

    monkeypatch.setattr(forkserver, "read_signed", killed_before_it_answers)
    config = compose([*WORDS, "train.steps=4", "train.checkpoint_every=4", f"runs={tmp_path}"])
    process = Process(context, PlannedRun(config, {}), 0)
    process.process.join()
    assert process.outcome(stopping=False).state == "completed"
