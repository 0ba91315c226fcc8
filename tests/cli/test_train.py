"""``train.py``: what a log says of runs, and what to do next."""

import json
import re
import subprocess
import sys

import pytest
from support import ROOT, call

from bn_repro.records import paths

SMOKE = ["experiment=mnist/bn", "scale=smoke", "train.steps=4", "train.population_batches=0"]


def test_a_run_in_a_log_has_a_first_line_and_a_last(monkeypatch, capsys, tmp_path):
    code, out, _ = call(monkeypatch, capsys, *SMOKE, f"runs={tmp_path}")
    assert code == 0
    first, last = out.splitlines()
    assert re.fullmatch(rf"mnist/bn seed 0: 4 steps, in {tmp_path}/mnist/bn-\w+/seed0", first)
    assert re.fullmatch(r"mnist/bn seed 0: completed at step 4, \d+\.\d %, \d+ s", last)


def test_a_finished_run_is_reported_without_torch(monkeypatch, capsys, tmp_path):
    words = [*SMOKE, f"runs={tmp_path}"]
    assert call(monkeypatch, capsys, *words)[0] == 0
    script = str(ROOT / "scripts" / "train.py")
    code = (
        f"import runpy, sys\nsys.argv = {[script, *words]}\n"
        f"try: runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "already completed at step 4 (force=true starts over)" in done.stdout


@pytest.mark.usefixtures("apart")
def test_what_is_not_in_wandb_is_named_and_how_to_send_it(monkeypatch, capsys, tmp_path):
    words = ["-m", *SMOKE, f"runs={tmp_path}"]
    assert call(monkeypatch, capsys, *words, "seed=0")[0] == 0
    code, out, _ = call(monkeypatch, capsys, *words, "seed=0,1", "wandb=offline")
    assert code == 0
    assert "trained before, and not in W&B: 1 run (" in out
    assert "bn-repro publish sends" in out
    assert f"To W&B: wandb sync {tmp_path}/wandb" in out
    again = call(monkeypatch, capsys, *words, "seed=1", "wandb=offline")[1]
    assert "trained before" not in again


def test_a_study_at_smoke_scale_says_what_it_leaves_out(monkeypatch, capsys, tmp_path):
    words = ["study=fig1", "scale=smoke", "train.steps=4", f"runs={tmp_path}"]
    out = call(monkeypatch, capsys, *words)[1].splitlines()
    assert out[0].startswith("scale=smoke takes each block's first seed")
    assert out[1] == "study fig1: 2 runs to train"


def test_what_the_preflight_could_not_see_is_one_line(monkeypatch, capsys, tmp_path):
    """As where data vanish: the child refuses its input, and its status says why."""
    monkeypatch.setattr("bn_repro.training.run.preflight", lambda configs: None)
    words = ["-m", *SMOKE, "data=mnist", f"data.root={tmp_path}/none", f"runs={tmp_path}"]
    code, out, err = call(monkeypatch, capsys, *words, "seed=0,1")
    assert code == 1
    assert "2 failed: ValueError: data.root: no train-images" in out
    assert "Traceback" not in out + err
    for status in tmp_path.glob(f"mnist/*/seed*/{paths.STATUS}"):
        found = json.loads(status.read_text())
        assert (found["state"], found["cause"], found["step"]) == ("failed", "other", 0)
