"""A run resumes exactly, whatever cut it off; its records follow the contract."""

import json
import os
import resource
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from resumed import SMOKE, assert_same_run, config_of, rows, silent, stopped, weights
from support import Forked, answers_of, call, train

from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.data.decode import CorruptImage
from bn_repro.records import paths
from bn_repro.records.accuracy import monitored_curve
from bn_repro.records.reader import last_status
from bn_repro.training import checkpoint, loop
from bn_repro.training.run import build, preflight, record_failure, run
from bn_repro.training.world import World


@pytest.fixture(scope="module", params=["plain", "momentum, dropout, delay"])
def settings(request, tmp_path_factory):
    """The words of a run, and the directory of an uninterrupted one."""
    words = ["optimizer.momentum=0.9", "model.dropout=0.3", "optimizer.delay=3"]
    words = [] if request.param == "plain" else words
    config = config_of(tmp_path_factory.mktemp("whole"), *words)
    assert run(config, log=silent).state == "completed"
    return words, directory_of(config)


def test_inception_resumes_exactly(tmp_path):
    """With all that could be lost: momentum, dropout, augmentation, averages, layout."""
    words = ["experiment=imagenet/bn_baseline", "scale=smoke", "train.checkpoint_every=100"]
    words.append("train.polyak=0.3")
    whole = compose([*words, f"runs={tmp_path / 'whole'}"])
    run(whole, log=silent)
    cut = compose([*words, f"runs={tmp_path / 'cut'}"])
    for step in (4, 6):
        outcome = stopped(cut, step)
        assert (outcome.state, outcome.step) == ("preempted", step)
    assert run(cut, log=silent).state == "completed"
    assert_same_run(directory_of(cut), directory_of(whole))


def test_polyaks_average_is_that_of_every_steps_weights_and_moving_averages(tmp_path):
    after = []
    for steps in (1, 2, 3):
        config = config_of(tmp_path, f"train.steps={steps}", "train.polyak=0.2")
        run(config, log=silent)
        after.append(checkpoint.load_latest(directory_of(config) / paths.CHECKPOINTS))
    average = after[2]["average"]
    one, two, three = (saved["model"] for saved in after)
    for key, value in three.items():
        if not value.is_floating_point():  # mini-batches counted, for others' code
            continue
        by_hand = 0.8 * (0.8 * one[key] + 0.2 * two[key]) + 0.2 * value
        torch.testing.assert_close(average["module"][key], by_hand)
    measured = {r["statistics"]: r for r in rows(directory_of(config), paths.METRICS)}
    assert measured["polyak"]["step"] == 3
    assert measured["polyak"]["loss"] != measured["moving"]["loss"]
    plain = config_of(tmp_path, "train.steps=3", "train.engine=eager")  # as with an average
    run(plain, log=silent)
    kept = [r for r in rows(directory_of(config), paths.METRICS) if r["statistics"] != "polyak"]
    assert rows(directory_of(plain), paths.METRICS) == kept  # it changes nothing else


@pytest.mark.parametrize("cuts", [[10], [40, 70, 90]])
def test_a_preempted_run_goes_on_as_if_nothing_had_been(settings, cuts, tmp_path):
    words, whole = settings
    config = config_of(tmp_path, *words)
    for cut in cuts:
        outcome = stopped(config, cut)
        assert (outcome.state, outcome.step) == ("preempted", cut)
        status = json.loads((directory_of(config) / paths.STATUS).read_text())
        assert (status["state"], status["step"]) == ("preempted", cut)
    assert run(config, log=silent).state == "completed"
    assert_same_run(directory_of(config), whole)


def forked(runs: Path, *words: str) -> Forked:
    return Forked(train, [*SMOKE, f"runs={runs}", *words])


def wait_for_step(directory: Path, step: int, process: Forked) -> None:
    """However long it takes: the machine may be slow, and the process may not end before."""
    while last_status(directory).step < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_cut_between_two_rows_loses_nothing(tmp_path):
    """Killed after a row, stopped again before the next: each file is as long as it was known."""
    words = ["train.eval_every=50", "train.checkpoint_every=30", "train.log_every=10"]
    whole, cut = config_of(tmp_path / "whole", *words), config_of(tmp_path / "cut", *words)
    run(whole, log=silent)
    stopped(cut, 50)
    folder = directory_of(cut) / paths.CHECKPOINTS
    max(folder.iterdir()).unlink()  # as a kill would have it: the state of 30, the rows of 50
    for step in (40, 45):
        stopped(cut, step)
    assert run(cut, log=silent).state == "completed"
    assert_same_run(directory_of(cut), directory_of(whole))
    timing = [r["step"] for r in rows(directory_of(cut), paths.TIMING)]
    assert timing == [50, 100, 120]


def train_until_killed(words: list[str], after_row: int | None, in_save: int | None) -> None:
    """Train in this process, which kills itself: after a row, or within the n-th atomic write."""
    writes, replace = [0], os.replace

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def replace_or_die(*paths) -> None:
        writes[0] += 1
        kill() if writes[0] == in_save else replace(*paths)

    os.replace = replace_or_die
    config = compose(words)
    run(config, log=silent, progress=lambda step, _: kill() if step == after_row else None)


@pytest.mark.parametrize("kills", [[(50, None), (80, None)], [(None, 7), (None, 5)]])
def test_a_killed_run_goes_on_as_if_nothing_had_been(settings, kills, tmp_path):
    words, whole = settings
    config = config_of(tmp_path, *words)
    for after_row, in_save in kills:
        words_of_run = [*SMOKE, f"runs={tmp_path}", *words]
        process = Forked(train_until_killed, words_of_run, after_row, in_save)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert last_status(directory_of(config)).state == "running"
    with open(directory_of(config) / paths.METRICS, "ab") as file:
        file.write(b'{"step": 99999, "spl')  # what a kill in the middle of a write leaves behind
    assert run(config, log=silent).state == "completed"
    assert_same_run(directory_of(config), whole)


def test_ctrl_c_is_a_preemption(tmp_path):
    config = config_of(tmp_path, "train.steps=1000000")
    process = forked(tmp_path, "train.steps=1000000")
    wait_for_step(directory_of(config), 90, process)
    process.interrupt()
    out, err = process.communicate()
    assert process.returncode == 75, (out, err)
    assert "Traceback" not in out + err
    status = last_status(directory_of(config))
    assert (status.state, status.cause) == ("preempted", "signal")
    saved = checkpoint.load_latest(directory_of(config) / paths.CHECKPOINTS)
    assert saved is not None
    assert saved["step"] == status.step


def test_a_second_process_waits_takes_over_and_mixes_no_lines(tmp_path):
    words = ["train.steps=1000000", "train.eval_every=500"]
    directory = directory_of(config_of(tmp_path, *words))
    first = forked(tmp_path, *words)
    wait_for_step(directory, 30, first)
    second = forked(tmp_path, *words)
    assert second.stdout.readline().startswith("mnist/bn seed 0: 1,000,000 steps")
    assert "another process is training this run; waiting for it" in second.stdout.readline()
    first.terminate()
    said = first.communicate()
    assert first.returncode == 75, said
    wait_for_step(directory, last_status(directory).step + 30, second)
    second.terminate()
    said = second.communicate()
    assert second.returncode == 75, said
    steps = [r["step"] for r in rows(directory, paths.METRICS) if r["split"] == "train"]
    assert steps == list(range(10, last_status(directory).step + 1, 10))


def train_on_disk_of(room: int, words: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    train(words)


@pytest.mark.parametrize("room", [0, 60_000])
def test_a_full_disk_is_one_line_and_a_failed_run(tmp_path, room):
    """A limit on the size of files stands for the disk: the write that passes it fails."""
    process = Forked(train_on_disk_of, room, [*SMOKE, f"runs={tmp_path}"])
    out, err = process.communicate()
    assert process.returncode == 1
    assert "File too large" in out
    assert "Traceback" not in out + err
    if room:
        status = json.loads((directory_of(config_of(tmp_path)) / paths.STATUS).read_text())
        assert (status["state"], status["cause"]) == ("failed", "disk")
    assert run(config_of(tmp_path), log=silent).state == "completed"


def test_the_records_follow_the_contract(settings):
    _, directory = settings
    assert yaml.safe_load((directory / paths.CONFIG).read_text())["experiment"] == "mnist/bn"
    manifest = json.loads((directory / paths.MANIFEST).read_text())
    assert {"commit", "dirty", "versions", "device", "engine", "command", "started", "data"} <= set(
        manifest
    )
    assert manifest["commit"]
    status = json.loads((directory / paths.STATUS).read_text())
    assert set(status) == {"state", "step", "seconds", "cause", "error"}
    assert (status["state"], status["step"], status["cause"]) == ("completed", 120, None)
    metrics = rows(directory, paths.METRICS)
    tests = [(r["step"], r["statistics"]) for r in metrics if r["split"] == "test"]
    assert tests == [(50, "moving"), (100, "moving"), (120, "moving"), (120, "population")]
    assert all(0 <= r["top1"] <= 1 and r["loss"] > 0 for r in metrics)
    traces = rows(directory, paths.TRACES)
    assert {(r["site"], r["unit"]) for r in traces} == {
        (f"hidden{k}", unit) for k in (1, 2, 3) for unit in (0, None)
    }
    assert all(r["p15"] <= r["p50"] <= r["p85"] for r in traces)
    assert len(list((directory / paths.CHECKPOINTS).iterdir())) == 1
    for name in (paths.METRICS, paths.TRACES):
        assert "second" not in (directory / name).read_text()


def test_which_images_are_right_at_the_last_and_at_the_best_evaluation(settings):
    _, directory = settings
    found, curve = answers_of(directory), monitored_curve(rows(directory, paths.METRICS))
    assert (found["last_step"], curve[-1][0]) == (120, 120)
    assert found["best_step"] in dict(curve)
    for which in ("last", "best"):
        assert found[f"{which}_seen"].sum() == len(found[which]) == 10_000
        assert found[which].mean() == dict(curve)[found[f"{which}_step"]]
    config = compose([*SMOKE, *settings[0]])
    model, data = build(config)
    saved = checkpoint.load_latest(directory / paths.CHECKPOINTS)
    assert saved is not None
    model.load_state_dict(saved["model"])
    with torch.no_grad():
        x, y = next(data.eval_batches("test", batch_size=500))
        right = model.eval()(x).argmax(1) == y
    assert np.array_equal(right.numpy(), found["last"][:500])


def test_evaluations_on_a_part_are_followed_by_one_on_all(tmp_path):
    words = ["train.steps=30", "train.eval_every=10", "train.polyak=0.1"]
    whole, part = config_of(tmp_path / "whole", *words), config_of(tmp_path / "part", *words)
    part.data.eval_limit = 100
    run(whole, log=silent)
    run(part, log=silent)
    full, some = (rows(directory_of(c), paths.METRICS) for c in (whole, part))
    of_a_part = {(r["step"], r["statistics"]) for r, s in zip(full, some, strict=True) if r != s}
    assert of_a_part == {(step, kind) for step in (10, 20) for kind in ("moving", "polyak")}
    found = answers_of(directory_of(part))
    assert found["last_seen"].all()
    assert found["best_seen"].sum() == 100  # though accuracy still rises: on other images
    assert answers_of(directory_of(whole))["best_step"] == 30
    every = config_of(tmp_path / "every", *words)
    every.data.eval_limit = 10_000  # no part of the 10,000
    run(every, log=silent)
    kept = [(directory_of(c) / paths.CORRECT).read_bytes() for c in (whole, every)]
    assert kept[0] == kept[1]
    short = config_of(tmp_path / "short", *words)
    short.data.eval_limit = 100
    stopped(short, 20)
    found = answers_of(directory_of(short))
    assert np.flatnonzero(found["last_seen"]).tolist() == list(range(0, 10_000, 100))
    top1 = monitored_curve(rows(directory_of(short), paths.METRICS))[-1][1]
    assert found["last"].sum() == pytest.approx(100 * top1)


def test_the_best_evaluation_is_remembered_over_a_resume(tmp_path):
    """A rate so high that accuracy falls: the best comes before the stop, the last after it."""
    words = ["optimizer.lr=30", "model.norm=none", "train.eval_every=1", "train.steps=30"]
    whole, cut = config_of(tmp_path / "whole", *words), config_of(tmp_path / "cut", *words)
    run(whole, log=silent)
    found = answers_of(directory_of(whole))
    assert found["best_step"] < found["last_step"] == 30
    best = max(v for _, v in monitored_curve(rows(directory_of(whole), paths.METRICS)))
    assert found["best"].mean() == best > found["last"].mean()
    stopped(cut, found["best_step"] + 1)
    run(cut, log=silent)
    assert_same_run(directory_of(cut), directory_of(whole))


def test_what_is_measured_at_the_end_steers_nothing(tmp_path):
    """The accuracy of a run with held-out images is theirs, wherever the test set is measured."""
    words = ["data.held_out=5000", "train.final_splits=[train,test,val]"]
    config = config_of(tmp_path, *words)
    outcome = run(config, log=silent)
    moving = [
        (row["split"], row["step"], row["top1"])
        for row in rows(directory_of(config), paths.METRICS)
        if row["statistics"] == "moving"
    ]
    followed = [("val", 50), ("val", 100), ("val", 120)]
    assert [m[:2] for m in moving] == [*followed, ("train", 120), ("test", 120)]
    assert outcome.top1 == moving[2][2] != moving[4][2]
    assert run(config, log=silent).top1 == moving[2][2]  # read back from the records


def test_the_gap_is_measured_without_dropout(tmp_path):
    """Training accuracy is that of the network as it is used, on all that it was trained on."""
    words = ["model.dropout=0.5", "data.limit=200", "train.final_splits=[train]"]
    config = config_of(tmp_path, *words)
    run(config, log=silent)
    found = next(
        row
        for row in rows(directory_of(config), paths.METRICS)
        if (row["split"], row["statistics"]) == ("train", "moving")
    )
    model, data = build(config)
    model.load_state_dict(
        {k: v for k, v in weights(directory_of(config)).items() if k in model.state_dict()}
    )
    x, y = next(data.eval_batches("train", batch_size=200, device="cpu"))
    with torch.no_grad():
        top1 = (model.eval()(x).argmax(1) == y).float().mean().item()
    assert found["top1"] == pytest.approx(top1)


def test_a_split_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match="train.final_splits: mnist_binary has no split val"):
        run(config_of(tmp_path, "train.final_splits=[val]"), log=silent)


def test_inception_trains_on_digits(tmp_path):
    words = ["experiment=imagenet/bn_x5", "scale=smoke", "data=mnist_binary", "data.limit=100"]
    words += ["model.modules=[3b,5b]", "train.eval_every=100", "train.population_batches=1"]
    config = compose([*words, f"runs={tmp_path}"])
    preflight([config_of(tmp_path), config])  # one has flat digits
    outcome = run(config, log=silent)
    assert (outcome.state, outcome.step) == ("completed", 12)
    saved = weights(directory_of(config))
    assert {name.split(".")[1] for name in saved if name.startswith("trunk.")} >= {"3b", "5b"}
    assert not any(".4a." in name for name in saved)


def test_depth_repeats_the_first_width():
    def widths(*words):
        sites = build(compose(["experiment=mnist/bn", *words]))[0]
        return [m.out_features for m in sites.modules() if isinstance(m, torch.nn.Linear)]

    assert widths("model.depth=5", "model.hidden=[30,20]") == [30] * 5 + [10]
    assert widths("model.hidden=[30,20]") == [30, 20, 10]


def test_a_finished_run_is_not_done_again_and_force_moves_it_aside(tmp_path):
    config = config_of(tmp_path, "train.steps=2")
    run(config, log=silent)
    before = (directory_of(config) / paths.MANIFEST).stat().st_mtime_ns
    assert run(config, log=silent).state == "completed"
    assert (directory_of(config) / paths.MANIFEST).stat().st_mtime_ns == before
    run(config_of(tmp_path, "train.steps=2", "force=true"), log=silent)
    assert (directory_of(config) / paths.MANIFEST).stat().st_mtime_ns != before
    run(config_of(tmp_path, "train.steps=2", "force=true"), log=silent)
    aside = [p for p in directory_of(config).parent.iterdir() if p.name.startswith("seed0.2")]
    assert len(aside) == 2
    assert all((folder / paths.METRICS).exists() for folder in aside)


def test_a_finished_run_is_not_taken_for_one_on_other_data(tmp_path):
    sets = {}
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        write_digits(tmp_path / name, seed)
        words = ["data=mnist", "train.steps=2", "train.batch_size=10"]
        sets[name] = config_of(tmp_path / "runs", *words, f"data.root={tmp_path / name}")
    assert run(sets["a"], log=silent).state == "completed"
    assert run(sets["a"], log=silent).state == "completed"
    with pytest.raises(ValueError, match=r"begun on data \w+, but mnist is now"):
        run(sets["b"], log=silent)


def write_digits(folder: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for part, n in (("train", 40), ("t10k", 20)):
        images = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(content)


def test_a_non_finite_loss_ends_the_run_as_diverged(tmp_path, monkeypatch):
    config = config_of(tmp_path, "model.nonlinearity=relu", "optimizer.lr=1e30", "model.norm=none")
    outcome = run(config, log=silent)
    assert (outcome.state, outcome.cause) == ("diverged", "divergence")
    last = rows(directory_of(config), paths.METRICS)[-1]
    assert (last["step"], last["loss"]) == (outcome.step, None)
    assert run(config, log=silent).state == "diverged"


def test_an_error_in_training_leaves_its_traceback_in_the_run(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("bn_repro.training.eager.gradients", broken)
    config = config_of(tmp_path, "train.engine=eager")
    outcome = run(config, log=silent)
    assert (outcome.state, outcome.error) == ("failed", "RuntimeError: out of luck")
    assert "out of luck" in (directory_of(config) / paths.TRACEBACK).read_text()
    monkeypatch.undo()
    assert run(config, log=silent).state == "completed"
    assert not (directory_of(config) / paths.TRACEBACK).exists()  # of nothing that still holds


def test_an_error_may_name_a_file_that_is_not_in_utf_8(tmp_path):
    outcome = record_failure(tmp_path, CorruptImage("caf\udce9.jpg: not an image"), World(0, 1))
    assert (outcome.state, outcome.cause) == ("failed", "data")
    assert "caf\\udce9.jpg" in (tmp_path / paths.TRACEBACK).read_text()


def test_both_arms_begin_with_the_same_weights_and_see_the_same_order():
    bn, data = build(compose(["experiment=mnist/bn", "seed=3"]))
    baseline, same = build(compose(["experiment=mnist/baseline", "seed=3"]))
    other, _ = build(compose(["experiment=mnist/baseline", "seed=4"]))
    mine, its = bn.state_dict(), baseline.state_dict()
    shared = [key for key in its if key.endswith("linear.weight") or "classifier" in key]
    assert len(shared) == 5
    assert all(torch.equal(mine[key], its[key]) for key in shared)
    key = "layers.hidden1.linear.weight"
    assert not torch.equal(its[key], other.state_dict()[key])
    assert its[key].std().item() == pytest.approx(0.1, rel=0.01)
    order = [d.train_batches(seed=3, first_step=1, steps=3, batch_size=60) for d in (data, same)]
    for (x, y), (x2, y2) in zip(*order, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_nothing_is_written_in_the_working_directory(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    words = [*SMOKE, "train.steps=2", f"runs={tmp_path / 'runs'}"]
    assert call(monkeypatch, capsys, *words)[0] == 0
    assert os.listdir() == []


def test_float32_is_not_rounded_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as it is by itself
    torch.backends.cuda.matmul.allow_tf32 = True  # as a variable may ask; a run leaves it False
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    run(config_of(tmp_path, "train.steps=1"), log=silent)
    assert torch.backends.cudnn.allow_tf32 is False
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


@pytest.mark.parametrize(("precision", "lower"), [("float32", False), ("bfloat16", True)])
def test_algorithm_2_sees_the_network_in_its_own_precision(tmp_path, monkeypatch, precision, lower):
    seen = []

    def estimated(model, batches):
        seen.append(torch.is_autocast_enabled("cpu"))
        return nullcontext()

    monkeypatch.setattr(loop, "population_statistics", estimated)
    run(config_of(tmp_path, "train.steps=1", f"train.precision={precision}"), log=silent)
    assert seen == [lower]


def test_what_a_step_draws_is_a_function_of_its_seed():
    drawn = []
    for seed in (5, 6, 5):
        loop.seed_dropout(seed, torch.device("cpu"))
        drawn.append(torch.rand(4))
    torch.manual_seed(5)
    assert torch.equal(drawn[0], torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
