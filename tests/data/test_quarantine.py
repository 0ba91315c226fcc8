"""Files that cannot be read, from the command line's words to what a run says and leaves behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from resumed import rows, stopped
from support import Forked, answers_of, call, train

from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of, run_id
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.reader import last_top1
from bn_repro.training import multi_crop
from bn_repro.training.run import run

SMALL = [
    "experiment=imagenet/bn_x5",
    "scale=smoke",
    "data=imagenet",
    "data.workers=0",
    "train.steps=4",
    "train.batch_size=8",
    "train.eval_every=2",
    "train.eval_batch_size=2",
    "train.checkpoint_every=1",
    "train.population_batches=1",
]
TOLERANT = "data.on_error=quarantine"


@pytest.fixture
def bad(folder: Path) -> dict[str, Path]:
    """A file of each split that cannot be read."""
    bad = {split: folder / split / "n1" / f"{split}_1.JPEG" for split in ("train", "val")}
    for path in bad.values():
        path.write_bytes(b"no image")
    return bad


def config_of(root: Path, runs: Path, *words: str) -> Config:
    return compose([*SMALL, f"data.root={root}", f"runs={runs}", *words])


def manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / paths.MANIFEST).read_text())


def told_of(said: list[str], path: Path) -> int:
    return sum(line.startswith(f"quarantined: {path}: ") for line in said)


def test_are_said_once_and_listed_in_the_manifest(folder, bad, tmp_path):
    said: list[str] = []
    config = config_of(folder, tmp_path / "runs", TOLERANT)
    assert run(config, log=said.append).state == "completed"
    assert [told_of(said, path) for path in bad.values()] == [1, 1]
    found = manifest(directory_of(config))["quarantined"]
    assert found["count"] == 2
    assert sorted(f"quarantined: {line}" for line in found["files"]) == sorted(said)
    for row in rows(directory_of(config)):
        if row["split"] == "val":  # 8 of its 9 images are left
            assert row["top1"] * 8 == pytest.approx(round(row["top1"] * 8))
    right = answers_of(directory_of(config))
    assert list(right["last_seen"]) == [k != 4 for k in range(9)]  # n1/val_1 of three in each
    assert right["last"].sum() == round(8 * (last_top1(directory_of(config)) or 0))
    assert not right["last"][4]


def test_files_that_are_no_images_are_said_at_the_start_and_in_the_manifest(folder, tmp_path):
    for k in range(3):
        (folder / "train" / "n0" / f"{k}.svg").write_text("<svg/>")
    said: list[str] = []
    config = config_of(folder, tmp_path, "train.steps=1", "train.eval_every=1")
    assert run(config, log=said.append).state == "completed"
    assert said.count("data.root: passed over 3 files that are no images of a class: 3 .svg") == 1
    assert manifest(directory_of(config))["passed_over"] == {".svg": 3}


@pytest.mark.parametrize("crops", [1, 144])
def test_are_left_out_of_a_later_evaluation_too(folder, bad, tmp_path, crops):
    config = config_of(folder, tmp_path / "runs", TOLERANT)
    run(config, log=lambda line: None)
    seen: list[tuple[int, int]] = []
    config = config_of(folder, tmp_path / "runs")  # it need not be said again
    row = multi_crop.evaluate_run(config, crops, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (8, 9)
    if crops == 1:
        moving = [r for r in rows(directory_of(config)) if r["statistics"] == "moving"]
        assert row["loss"] == moving[-1]["loss"]


def told_at(config: Config) -> list[int]:
    """The step after which each line is said."""
    steps, found = [0], []
    run(config, log=lambda line: found.append(steps[-1]), progress=lambda k, v: steps.append(k))
    return found


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["train.eval_every=3", "train.checkpoint_every=100"], [3, 3]),
        (["train.eval_every=100", "train.checkpoint_every=3"], [3, 4]),
    ],
)
def test_are_told_at_an_evaluation_or_a_checkpoint(folder, bad, tmp_path, words, steps):
    words = [TOLERANT, "train.log_every=1", *words]
    assert told_at(config_of(folder, tmp_path / "runs", *words)) == steps


def test_that_are_met_at_the_very_end_are_told_too(folder, tmp_path):
    """The only step does not meet the first of the training images; measuring the gap does."""
    (folder / "train" / "n0" / "train_0.JPEG").write_bytes(b"no image")
    words = ["train.steps=1", "train.population_batches=0", TOLERANT]
    assert told_at(config_of(folder, tmp_path / "runs", *words)) == []
    words += ["train.final_splits=[train]", f"runs={tmp_path / 'gap'}"]
    assert told_at(config_of(folder, tmp_path, *words)) == [1]


def test_of_a_resumed_run_are_those_of_all_its_parts(folder, bad, tmp_path):
    whole = config_of(folder, tmp_path / "whole", TOLERANT)
    run(whole, log=lambda line: None)
    cut = config_of(folder, tmp_path / "cut", TOLERANT)
    said: list[str] = []
    assert stopped(cut, 1, said.append).state == "preempted"
    assert len(said) == 2  # both were met before the cut, and are met again after it
    assert run(cut, log=said.append).state == "completed"
    assert [told_of(said, path) for path in bad.values()] == [1, 1]
    one, other = directory_of(cut), directory_of(whole)
    assert manifest(one)["quarantined"]["count"] == 2
    assert len(manifest(one)["resumed"]) == 1
    for name in (paths.METRICS, paths.TRACES):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_follow_the_advice_and_the_run_goes_on(folder, bad, tmp_path):
    bad["train"].unlink()  # the other is met at the first evaluation, after step 2
    runs = tmp_path / "runs"
    failed = run(config_of(folder, runs), log=lambda line: None)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.endswith("data.on_error=quarantine goes on without such files")
    steps: list[int] = []
    config = config_of(folder, runs, TOLERANT, "train.log_every=1")
    outcome = run(config, log=lambda line: None, progress=lambda step, v: steps.append(step))
    assert (failed.step, steps[0], outcome.state) == (1, 2, "completed")
    assert manifest(directory_of(config))["quarantined"]["count"] == 1


def test_of_a_cache_are_told_too(tiny, tmp_path):
    files = [
        tiny / "train" / "n20" / "images" / "n20_2.JPEG",
        tiny / "val" / "images" / "val_1.JPEG",
    ]
    for path in files:
        path.write_bytes(b"no image")
    words = ["data=tiny_imagenet", TOLERANT, f"data.cache={tmp_path / 'cache'}"]
    words.append("train.log_every=1")
    for runs in ("built", "found"):  # the second meets the cache alone
        config = config_of(tiny, tmp_path / runs, *words)
        assert told_at(config) == [0, 0]
        found = manifest(directory_of(config))["quarantined"]
        assert found["count"] == 2
        assert all(str(path) in line for path, line in zip(files, found["files"], strict=True))


@pytest.mark.parametrize("broken", [["train", "val"], ["val"], []])
def test_of_a_sweep_are_told_beneath_its_table(folder, tmp_path, monkeypatch, capsys, broken):
    for split in broken:
        (folder / split / "n1" / f"{split}_1.JPEG").write_bytes(b"no image")
    words = ["-m", "seed=0,1", *SMALL, TOLERANT, "train.steps=3"]  # all 24 training images
    words += [f"data.root={folder}", f"runs={tmp_path / 'runs'}"]
    code, said, _ = call(monkeypatch, capsys, *words)
    assert code == 0, said
    told = [line for line in said.splitlines() if "could not be read" in line]
    if not broken:
        assert told == []
        return
    (line,) = told
    assert line.startswith(f"{len(broken)} image file{'s' * (len(broken) > 1)} could not be read; ")
    (path,) = (Path(word) for word in line.split() if word.endswith(paths.MANIFEST))
    assert json.loads(path.read_text())["quarantined"]["count"] == len(broken)


def test_there_are_none_in_a_whole_set(folder, tmp_path):
    said: list[str] = []
    config = config_of(folder, tmp_path / "runs", TOLERANT)
    run(config, log=said.append)
    assert said == []
    assert "quarantined" not in manifest(directory_of(config))


def test_of_all_ranks_are_told_by_the_first(folder, tmp_path):
    """Each rank evaluates a part of the images, and meets what lies there."""
    bad = [folder / "val" / f"n{label}" / "val_1.JPEG" for label in (0, 2)]
    for path in bad:
        path.write_bytes(b"no image")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = [*SMALL, "train.steps=1", TOLERANT, f"data.root={folder}", f"runs={tmp_path / 'runs'}"]
    ranks = [Forked(train, words, {"RANK": k, "LOCAL_RANK": k, **env}) for k in "01"]
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert [said[0][0].count(f"quarantined: {path}: ") for path in bad] == [1, 1]
    assert "quarantined" not in said[1][0]
    config = compose(words)
    directory = paths.run_directory(config.runs, config.experiment, run_id(config, world=2), 0)
    found = manifest(directory)["quarantined"]
    assert found["count"] == 2
    assert all(any(str(path) in line for line in found["files"]) for path in bad)
