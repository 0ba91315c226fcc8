"""What ``bn-repro diff`` says of two runs, and of two folders of seeds."""

import json
import re
import shutil

import pytest
import yaml
from support import as_lines, bn_repro

from bn_repro.analysis import compare

CONFIG = {
    "experiment": "mnist/bn",
    "scale": "paper",
    "seed": 0,
    "runs": "runs",
    "device": "auto",
    "model": {"name": "mlp", "norm": "batch", "norm_eps": 1e-5},
    "optimizer": {"lr": 0.1},
    "train": {"steps": 100, "trace_every": 10},
    "wandb": {"mode": "disabled"},
}
MANIFEST = {
    "commit": "0123456789abcdef",
    "dirty": False,
    "versions": {"python": "3.11.7", "torch": "2.15.0"},
    "device": "cpu",
    "engine": "by_hand",
    "data": "feedfacefeedface",
    "command": "bn-repro train",
    "started": "now",
}


def lay(directory, seed=0, top1=(0.5, 0.9), state="completed", manifest=None, **config):
    """A run's records; a key of ``config`` is dotted, with __ for the dot."""
    values = json.loads(json.dumps(CONFIG | {"seed": seed}))
    for key, value in config.items():
        section, _, name = key.partition("__")
        if name:
            values[section][name] = value
        else:
            values[section] = value
    directory = directory / f"seed{seed}"
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(values))
    (directory / "manifest.json").write_text(json.dumps(MANIFEST | (manifest or {})))
    status = {"state": state, "step": 50 * len(top1), "seconds": 7.0 + seed}
    (directory / "status.json").write_text(json.dumps(status))
    rows = [
        {"step": 50 * (k + 1), "split": "test", "statistics": "moving", "loss": 1.0, "top1": value}
        for k, value in enumerate(top1)
    ]
    (directory / "metrics.jsonl").write_text(as_lines(rows))
    return directory


def told(a, b):
    return compare.differences(compare.side(a), compare.side(b))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({}, []),
        ({"runs": "elsewhere", "wandb": {"mode": "online"}}, []),
        ({"optimizer__lr": 0.5}, [("configuration", "optimizer.lr", "0.1", "0.5")]),
        ({"experiment": "mnist/mine"}, [("configuration", "experiment", "mnist/bn", "mnist/mine")]),
        ({"train__trace_every": 20}, [("configuration", "train.trace_every", "10", "20")]),
        ({"device": "cuda"}, [("configuration", "device", "auto", "cuda")]),
        ({"manifest": {"data": "beef" * 8}}, [("data", "fingerprint", "feedfacefeed", "beef" * 3)]),
        (
            {"manifest": {"commit": None, "dirty": True}},
            [("commit", "commit", "0123456789ab", "unknown-dirty")],
        ),
        ({"manifest": {"engine": "eager"}}, [("engine", "engine", "by_hand", "eager")]),
        (
            {"manifest": {"versions": {"python": "3.11.7", "torch": "2.11.0"}}},
            [("machine", "torch", "2.15.0", "2.11.0")],
        ),
        (
            {"state": "preempted"},
            [("outcome", "state", "completed", "preempted")],
        ),
        (
            {"top1": (0.5, 0.92)},
            [
                ("outcome", "final accuracy", "90.00 %", "92.00 %"),
                ("outcome", "best accuracy", "90.00 %", "92.00 %"),
                ("outcome", "metrics of seed 0", "differ from step 100 on", ""),
            ],
        ),
        (
            {"top1": (0.5, 0.9, 0.9)},
            [
                ("outcome", "last step", "100", "150"),
                ("outcome", "metrics of seed 0", "differ from step 150 on", ""),
            ],
        ),
    ],
)
def test_a_difference_is_a_line(tmp_path, change, lines):
    a, b = lay(tmp_path / "a"), lay(tmp_path / "b", **change)
    assert told(a, b) == lines
    assert told(b, b) == []


def test_folders_of_seeds_are_compared_as_wholes(tmp_path):
    for seed, top1 in enumerate((0.90, 0.91, 0.92)):
        lay(tmp_path / "a", seed, (0.5, top1))
        lay(tmp_path / "b", seed, (0.5, top1 + 0.01), model__norm="none")
    lay(tmp_path / "b", 7, (float("nan"),), "diverged", model__norm="none")
    (tmp_path / "a" / "seed0.20260101-120000").mkdir()  # archived
    (tmp_path / "a" / "seed0.lock").touch()
    assert told(tmp_path / "a", tmp_path / "b") == [
        ("configuration", "model.norm", "batch", "none"),
        ("seeds", "", "0, 1, 2", "0, 1, 2, 7"),
        ("outcome", "state", "completed", "completed and diverged"),
        ("outcome", "last step", "100", "100 and 50"),
        ("outcome", "final accuracy", "91.00 % (3 seeds)", "92.00 % (3 seeds)"),
        ("outcome", "best accuracy", "91.00 % (3 seeds)", "92.00 % (3 seeds)"),
    ]
    a, b = (compare.side(tmp_path / name) for name in "ab")
    found = compare.accuracy_difference(a, b)
    assert found is not None
    assert (found.estimate, found.n) == (pytest.approx(0.01), 3)
    assert compare.accuracy_difference(a, compare.side(tmp_path / "b" / "seed7")) is None


def test_a_diverged_run_ends_at_chance(tmp_path):
    lay(tmp_path / "a", 0, (0.5, 0.97), manifest={"classes": 10})
    lay(tmp_path / "b", 0, (0.5, 0.97), "diverged", manifest={"classes": 10})
    a, b = (compare.side(tmp_path / name) for name in "ab")
    assert ("outcome", "final accuracy", "97.00 %", "10.00 %") in compare.differences(a, b)
    found = compare.accuracy_difference(a, b)
    assert found is not None
    assert found.estimate == pytest.approx(-0.87)


def test_the_command_shows_a_short_table(monkeypatch, capsys, tmp_path):
    for seed in range(5):
        lay(tmp_path / "a", seed, (0.9 + seed / 100,))
        lay(tmp_path / "b", seed, (0.91 + seed / 100,), optimizer__lr=0.5)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    code, out, err = bn_repro(monkeypatch, capsys, "diff", a, b)
    assert (code, err) == (0, "")
    words = re.sub(" +", " ", out).splitlines()
    assert words[:2] == [f"A: {a}", f"B: {b}"]
    assert "configuration optimizer.lr 0.1 0.5" in words
    assert "time of a run 9 s 9 s" in words
    assert words[-1] == "B - A in final accuracy: +1.00 points [+1.00, +1.00] (5 seeds)"

    shutil.rmtree(b)
    shutil.copytree(a, b)
    out = bn_repro(monkeypatch, capsys, "diff", a, b)[1]
    same = "equal: configuration, data, commit, engine, machine and outcome (5 runs each)\n"
    assert out == same


@pytest.mark.parametrize("words", [[], ["one"], ["one", "two", "three"], ["nowhere", "nowhere"]])
def test_what_cannot_be_compared_is_told(monkeypatch, capsys, words):
    code, _, err = bn_repro(monkeypatch, capsys, "diff", *words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_torn_record_is_told_by_its_path(monkeypatch, capsys, tmp_path):
    a = lay(tmp_path / "a")
    (a / "manifest.json").write_text("{")
    code, _, err = bn_repro(monkeypatch, capsys, "diff", str(a), str(a))
    assert code == 2
    assert f"{a / 'manifest.json'}: not readable as JSON" in err
