"""A signal is heard while data are prepared, and what has been prepared is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from support import ROOT

from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.data import chunks, listing
from bn_repro.records.files import waiting_for
from bn_repro.stop_signal import StopFlag
from bn_repro.sweep.local import LocalExecutor
from bn_repro.training.run import run

WORDS = ["experiment=imagenet/bn_x5", "scale=smoke", "data=tiny_imagenet", "data.image_size=32"]
WORDS += ["train.steps=2", "train.batch_size=8", "train.population_batches=1"]


def silent(line: str) -> None:
    pass


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_a_signal_while_images_are_decoded_ends_the_run_as_preempted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = compose([*WORDS, f"data.root={tiny}", f"runs={tmp_path / 'runs'}"])
    decode, decoded = chunks.read, []

    def read(*arguments):
        decoded.append(arguments[1:3])
        if len(decoded) == 6:
            os.kill(os.getpid(), getattr(signal, name))
        return decode(*arguments)

    monkeypatch.setattr(chunks, "read", read)
    monkeypatch.setattr(chunks, "CHUNK", 4)
    outcome = run(config, log=silent)
    assert (outcome.state, outcome.step, outcome.cause) == ("preempted", 0, "signal")
    assert not directory_of(config).exists()
    assert run(config, log=silent).state == "completed"
    assert len(decoded) == len(set(decoded)) == 24


@pytest.mark.parametrize("while_", ["names", "sizes"])
def test_a_signal_while_images_are_listed_ends_the_run_as_preempted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, while_: str
) -> None:
    config = compose([*WORDS, f"data.root={tiny}", f"runs={tmp_path / 'runs'}"])
    name = {"names": "_of_the_set", "sizes": "bytes_of"}[while_]
    ask, asked = getattr(listing, name), []

    def ask_and_be_stopped(about):
        asked.append(about)
        if len(asked) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return ask(about)

    monkeypatch.setattr(listing, name, ask_and_be_stopped)
    monkeypatch.setattr(chunks, "read", None)  # nothing is decoded
    outcome = run(config, log=silent)
    assert (outcome.state, outcome.step, outcome.cause) == ("preempted", 0, "signal")
    assert len(asked) == 6
    assert not directory_of(config).exists()


def test_a_sweeps_preflight_hears_it_too(tiny: Path, tmp_path: Path) -> None:
    config = compose([*WORDS, f"data.root={tiny}", f"runs={tmp_path / 'runs'}"])
    with StopFlag(patient=True).listening() as outer:
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer
        with StopFlag(patient=True).listening(), pytest.raises(KeyboardInterrupt):
            LocalExecutor().preflight([config])


def test_a_lock_that_another_process_holds_is_not_waited_for_after_a_signal(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), StopFlag().listening():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt), waiting_for(tmp_path / "lock"):
            pass


def caught(pid: int) -> int:
    """The signals that a process catches, as Linux shows them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith("SigCgt")).split()[1], 16)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_signal_in_the_first_moments_is_a_preemption(tmp_path: Path) -> None:
    code = """import runpy, signal, sys
listen, numbers = signal.signal, []
def heard(number, handler):
    assert numbers or "torch" not in sys.modules  # whose import takes seconds
    numbers.append(number)
    return listen(number, handler)
signal.signal = heard
runpy.run_path("scripts/train.py", run_name="__main__")"""
    command = [sys.executable, "-c", code, "experiment=mnist/bn", "scale=smoke"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, f"runs={tmp_path}"], cwd=ROOT, **pipes)
    while not caught(process.pid) >> (signal.SIGTERM - 1) & 1:
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, (out, err)
    assert "run the same command again to go on" in out + err
    assert "Traceback" not in out + err
    assert not list(tmp_path.rglob("status.json"))
