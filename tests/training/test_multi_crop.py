"""Evaluating a finished run says again what the run said, and what many crops and networks say."""

import csv
import io
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from support import call
from torch import nn
from torch.nn import functional as F

from bn_repro.analysis import ensembles
from bn_repro.cli import evaluate as command
from bn_repro.cli import main, report
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.data import crops
from bn_repro.records import paths
from bn_repro.records.reader import Outcome, read_evaluations
from bn_repro.sweep.study import expand
from bn_repro.training import checkpoint, multi_crop
from bn_repro.training.build import build
from bn_repro.training.evaluate import accuracies, evaluate, over_crops, scores
from bn_repro.training.run import run

SHORT = ["scale=smoke", "train.steps=6"]
WORDS = ["experiment=imagenet/bn_x30", *SHORT, "data.classes=24"]


def silent(line: str) -> None:
    pass


def quiet() -> Console:
    return Console(quiet=True)


def trained(runs: Path, *words: str, common=WORDS):
    config = compose([*common, *words, f"runs={runs}"])
    assert run(config, log=silent).state == "completed"
    return config


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """The configuration of a completed run of BN-x30 on 24 classes."""
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of it without evaluations, to be spoilt."""
    ours = shutil.ignore_patterns(paths.PREDICTIONS, paths.EVALUATION)
    shutil.copytree(finished_run.runs, tmp_path / "runs", ignore=ours)
    return replace(finished_run, runs=str(tmp_path / "runs"))


def recorded(config, statistics: str) -> dict:
    """What the run said of its network at its last step."""
    lines = (directory_of(config) / paths.METRICS).read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["statistics"] == statistics]
    return rows[-1]


def anew(config, **options):
    return replace(config, evaluation=replace(config.evaluation, **options))


def kept_arrays(config, crops=1, statistics="moving"):
    path = paths.predictions_file(directory_of(config), crops, statistics)
    with np.load(path) as file:
        return file["probabilities"], file["labels"]


# --- scores and accuracies ------------------------------------------------------------------------


def test_many_crops_count_by_the_mean_of_their_probabilities():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    x = 4 * torch.randn(2, 7, 5)
    by_hand = torch.zeros(2, 3)
    for image in range(2):
        for crop in range(7):
            logits = model(x[image, crop])
            by_hand[image] += torch.exp(logits) / torch.exp(logits).sum() / 7
    assert torch.allclose(over_crops(model, x).exp(), by_hand, atol=1e-6)
    logits_first = model(x).mean(1).softmax(1)
    assert not torch.allclose(over_crops(model, x).exp(), logits_first, atol=1e-2)


def test_a_probability_too_small_for_float32_still_has_a_logarithm():
    logits = torch.tensor([[[0.0, 300.0], [0.0, 400.0]]])
    found = over_crops(nn.Identity(), logits)
    assert found[0, 0].item() == pytest.approx(-300 - math.log(2), rel=1e-6)


def test_accuracies_count_every_example_once_whatever_the_batches():
    torch.manual_seed(0)
    logits, y = torch.randn(50, 30), torch.randint(30, (50,))
    order = logits.argsort(1, descending=True)
    whole = accuracies([(logits, y)])
    parts = accuracies(zip(logits.split(7), y.split(7), strict=True))
    assert parts == pytest.approx(whole, rel=1e-6)
    assert whole["top1"] == (order[:, 0] == y).float().mean().item()
    assert whole["top5"] == pytest.approx((order[:, :5] == y[:, None]).any(1).float().mean().item())
    assert whole["loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)
    assert "top5" not in accuracies([(logits[:, :19], y % 19)])
    with pytest.raises(ValueError, match="no examples"):
        accuracies([])


def test_the_model_is_left_in_its_mode_and_has_no_gradients():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    x, y = torch.randn(6, 4), torch.zeros(6, dtype=torch.int64)
    ((found, _),) = scores(model.train(), [(x, y)])
    assert model.training
    assert not found.requires_grad
    assert torch.equal(found, model[0](x))  # without dropout
    evaluate(model.eval(), [(x, y)])
    assert not model.training


# --- finished runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", ["moving", "population"])
def test_a_single_crop_measures_what_the_run_measured_at_its_last_step(finished_run, statistics):
    row = multi_crop.evaluate_run(anew(finished_run, statistics=statistics), 1)
    last = recorded(finished_run, statistics)
    assert row == {"crops": 1, **last}
    assert set(row) == {"crops", "statistics", "split", "step", "loss", "top1", "top5"}


def test_too_little_memory_is_told_in_a_line(finished_run, monkeypatch):
    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        yield

    monkeypatch.setattr(multi_crop, "scores", out_of_memory)
    with pytest.raises(ValueError, match=r"^evaluation.batch_size: too large for the memory"):
        multi_crop.evaluate_run(replace(finished_run, force=True), 1)


@pytest.mark.parametrize(
    "words", [[*WORDS, "train.precision=bfloat16"], [*SHORT, "experiment=mnist/bn"]]
)
def test_so_it_does_in_bfloat16_and_on_mnist(words, tmp_path):
    config = trained(tmp_path, *words, common=[])
    for statistics in ("moving", "population"):
        row = multi_crop.evaluate_run(anew(config, statistics=statistics), 1)
        assert row == {"crops": 1, **recorded(config, statistics)}
    if config.experiment == "mnist/bn":
        assert row["split"] == "test"
        with pytest.raises(ValueError, match="evaluation.crops: mnist_binary has no crops but the"):
            multi_crop.evaluate_run(config, 144)


def test_a_network_without_bn_has_one_kind_of_statistics(tmp_path):
    config = trained(tmp_path, "experiment=imagenet/inception")
    row = multi_crop.evaluate_run(anew(config, statistics="population"), 1)
    assert row == {"crops": 1, **recorded(config, "moving")}


def test_144_crops_are_the_mean_over_all_of_them(finished_run):
    row = multi_crop.evaluate_run(anew(finished_run, batch_size=100), 144)
    model, data = build(finished_run)
    saved = checkpoint.load_latest(directory_of(finished_run) / paths.CHECKPOINTS)
    assert saved is not None
    model.load_state_dict(saved["model"])
    model.eval()
    images, labels = data.on("cpu", "val")  # pyright: ignore[reportAttributeAccessIssue]
    size, by_hand = data.shape[1], []
    boxes = crops.multi_crop(size, size, size)
    assert len(boxes) == 144
    with torch.no_grad():
        for image in images.split(1):
            (x,) = torch.cat(list(crops.crops(image, boxes, size)), dim=1)
            by_hand.append(model(x).softmax(1).mean(0))
    p = torch.stack(by_hand)
    kept, kept_labels = kept_arrays(finished_run, 144)
    assert kept_labels.tolist() == labels.tolist()
    assert len(labels) == data.splits["val"] == 64
    assert np.allclose(kept, p.numpy(), atol=1e-5)
    assert row["top1"] == (p.argmax(1) == labels).float().mean().item()
    assert row["loss"] == pytest.approx(F.nll_loss(p.log(), labels).item(), rel=1e-4)


def test_the_probabilities_kept_are_of_every_image_once_in_order(finished_run):
    row = multi_crop.evaluate_run(anew(finished_run, batch_size=7), 1)
    probabilities, labels = kept_arrays(finished_run)
    _, data = build(finished_run)
    expected = torch.cat([y for _, y in data.eval_batches("val", batch_size=5)])
    assert labels.tolist() == expected.tolist()
    assert probabilities.shape == (64, 24)
    assert probabilities.sum(1) == pytest.approx(np.ones(64), abs=1e-5)
    assert (probabilities.argmax(1) == labels).mean() == row["top1"]


def test_an_evaluation_is_made_once_unless_forced(own_run, monkeypatch):
    made = []
    monkeypatch.setattr(multi_crop, "build", lambda config: made.append(1) or build(config))
    first = multi_crop.evaluate_run(own_run, 1)
    assert multi_crop.evaluate_run(own_run, 1) == first
    assert len(made) == 1
    both = multi_crop.evaluate_run(own_run, 144), multi_crop.evaluate_run(own_run, 1)
    assert len(made) == 2
    assert read_evaluations(directory_of(own_run)) == [first, both[0]]
    multi_crop.evaluate_run(replace(own_run, force=True), 1)
    assert len(made) == 3
    assert read_evaluations(directory_of(own_run)) == [both[0], first]  # replaced, not repeated
    paths.predictions_file(directory_of(own_run), 1, "moving").unlink()
    multi_crop.evaluate_run(own_run, 1)
    assert len(made) == 4  # a row alone is not enough for an ensemble


def test_progress_tells_every_image(own_run):
    told = []
    multi_crop.evaluate_run(own_run, 144, lambda done, of: told.append((done, of)))
    assert told[-1] == (64, 64)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_network_of_several_ranks_has_the_mean_of_their_averages(own_run):
    expected = multi_crop.evaluate_run(own_run, 1)
    theirs = directory_of(own_run, world=2)
    directory_of(own_run).parent.rename(theirs.parent)
    folder = theirs / paths.CHECKPOINTS
    saved = checkpoint.load_latest(folder)
    assert saved is not None
    model, _ = build(own_run)
    model.load_state_dict(saved["model"])
    state = model.state_dict()
    averages = [state[k].flatten() for k in state if k.endswith(("running_mean", "running_var"))]
    flat = torch.cat(averages)
    spread = 0.1 * flat.abs()
    for path in folder.iterdir():
        path.unlink()
    checkpoint.save(folder, 6, saved | {"replicas": [flat - spread, flat + spread]})
    found = multi_crop.evaluate_run(anew(replace(own_run, force=True), world=2), 1)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    checkpoint.save(folder, 6, saved | {"replicas": [flat - spread, flat - spread]})
    for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)[:-1]:
        path.unlink()
    other = multi_crop.evaluate_run(anew(replace(own_run, force=True), world=2), 1)
    assert other["loss"] != pytest.approx(expected["loss"], rel=1e-4)


# --- bad input ------------------------------------------------------------------------------------


def test_an_unfinished_run_is_told(own_run):
    with pytest.raises(ValueError, match="seed5: the run has not begun, and only finished runs"):
        multi_crop.evaluate_run(replace(own_run, seed=5), 1)
    status = directory_of(own_run) / paths.STATUS
    status.write_text(status.read_text().replace("completed", "preempted"))
    with pytest.raises(ValueError, match="the run is preempted at step 6, and only finished runs"):
        multi_crop.evaluate_run(own_run, 1)


def test_a_copy_of_a_run_is_no_other_seed(own_run):
    """Else an ensemble of both would be one network, twice."""
    shutil.copytree(directory_of(own_run), directory_of(replace(own_run, seed=5)))
    with pytest.raises(ValueError, match=r"seed5: its config.yaml is of seed \d, so it is a copy"):
        multi_crop.evaluate_run(replace(own_run, seed=5), 1)


def test_a_diverged_run_left_no_network(own_run):
    status = directory_of(own_run) / paths.STATUS
    status.write_text(status.read_text().replace("completed", "diverged"))
    with pytest.raises(ValueError, match="the run diverged at step 6: it left no network"):
        multi_crop.evaluate_run(own_run, 1)


def test_a_missing_or_damaged_checkpoint_is_told(own_run):
    folder = directory_of(own_run) / paths.CHECKPOINTS
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    message = "checkpoints: no intact checkpoint of step 6, the run's last .none found.; train"
    with pytest.raises(ValueError, match=message):
        multi_crop.evaluate_run(own_run, 1)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match=message):
        multi_crop.evaluate_run(own_run, 1)


def test_a_checkpoint_of_an_earlier_step_is_not_the_runs_network(own_run):
    folder = directory_of(own_run) / paths.CHECKPOINTS
    saved = checkpoint.load_latest(folder)
    assert saved is not None
    shutil.rmtree(folder)
    checkpoint.save(folder, 4, saved | {"step": 4})
    with pytest.raises(ValueError, match="no intact checkpoint of step 6.*step 4 found"):
        multi_crop.evaluate_run(own_run, 1)


def test_a_checkpoint_of_another_network_is_one_line(own_run, tmp_path):
    other = trained(tmp_path / "other", "model.width=0.25")
    folder = directory_of(own_run) / paths.CHECKPOINTS
    shutil.rmtree(folder)
    shutil.copytree(directory_of(other) / paths.CHECKPOINTS, folder)
    with pytest.raises(ValueError, match="is of another network: ") as error:
        multi_crop.evaluate_run(own_run, 1)
    assert "trunk.conv1.linear.weight is 16x3x7x7 there and 8x3x7x7 here" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_data_than_the_run_was_trained_on_are_told(own_run):
    path = directory_of(own_run) / paths.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": "0" * 64}))
    with pytest.raises(ValueError, match="begun on data 0000000000000000, but synthetic is now"):
        multi_crop.evaluate_run(own_run, 1)


def test_where_the_data_lay_is_known_from_the_run(own_run, monkeypatch):
    path = directory_of(own_run) / paths.CONFIG
    path.write_text(path.read_text().replace("root: null", "root: /where/they/lay"))
    asked = []
    monkeypatch.setattr(multi_crop, "build", lambda c: asked.append(c.data.root) or build(c))
    multi_crop.evaluate_run(own_run, 1)
    here = replace(own_run, force=True, data=replace(own_run.data, root="/here"))
    multi_crop.evaluate_run(here, 1)
    assert asked == ["/where/they/lay", "/here"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["experiment=mnist/bn", "scale=smoke"], "has not begun"),
        ([], "nothing to evaluate"),
        (["-m", "experiment=mnist/bn", "seed=0,1"], "-m: sweeps are for bn-repro train"),
    ],
)
def test_bad_input_is_a_line_and_an_exit_code(monkeypatch, capsys, tmp_path, words, said):
    words = [*words, f"runs={tmp_path / 'runs'}"]
    code, out, err = call(monkeypatch, capsys, *words, command="evaluate")
    assert code == 2
    assert said in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "runs").exists()


# --- several runs, and studies --------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_its_members_probabilities(finished_run):
    words = [*WORDS, "evaluation.seeds=[0,4]", "evaluation.ensemble=true"]
    words.append(f"runs={finished_run.runs}")
    members = [finished_run, trained(finished_run.runs, "seed=4")]
    found = command.evaluate_all(compose(words), words, quiet())
    assert [title for title, _ in found] == [
        "imagenet/bn_x30 seed 0",
        "imagenet/bn_x30 seed 4",
        "ensemble of 2",
    ]
    (first, labels), (second, _) = (kept_arrays(config) for config in members)
    p = (first.astype(float) + second.astype(float)) / 2
    truth = p[np.arange(len(labels)), labels]
    row = found[-1][1]
    assert row["loss"] == pytest.approx(-np.log(truth).mean())
    assert row["top1"] == (p.argmax(1) == labels).mean()
    assert row["top5"] == pytest.approx((np.sort(p, 1)[:, -5] <= truth).mean())
    assert row["loss"] < (found[0][1]["loss"] + found[1][1]["loss"]) / 2  # Jensen's inequality
    assert (row["crops"], row["split"], row["step"]) == (1, "val", 6)
    assert command.table(found).row_count == 3


def test_members_that_saw_other_images_make_no_ensemble(finished_run, tmp_path):
    multi_crop.evaluate_run(finished_run, 1)
    probabilities, labels = kept_arrays(finished_run)
    path = paths.predictions_file(directory_of(finished_run), 1, "moving")
    np.savez(tmp_path / "other.npz", probabilities=probabilities, labels=labels[::-1])
    with pytest.raises(ValueError, match="other.npz: other examples than in"):
        ensembles.read([path, tmp_path / "other.npz"])
    (tmp_path / "torn.npz").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="torn.npz: not readable .*; evaluate with force=true"):
        ensembles.read([path, tmp_path / "torn.npz"])


def test_one_run_makes_no_ensemble_and_a_study_has_its_own_seeds():
    alone = [*WORDS, "evaluation.ensemble=true"]
    with pytest.raises(ValueError, match="evaluation.ensemble: it needs several runs"):
        command.runs_to_evaluate(compose(alone), alone)
    words = ["study=fig4", "scale=smoke", "evaluation.seeds=[1]"]
    with pytest.raises(ValueError, match="evaluation.seeds: study fig4 has its own"):
        command.runs_to_evaluate(compose(words), words)


def test_an_unfinished_run_of_several_stops_all_before_the_first(finished_run):
    words = [*WORDS, "evaluation.seeds=[0,8]", f"runs={finished_run.runs}"]
    with pytest.raises(ValueError, match="seed8: the run has not begun"):
        command.evaluate_all(compose(words), words, quiet())


def test_the_ensemble_of_figure_4_is_six_networks_each_with_another_seed():
    words = ["study=fig4"]
    runs, (members,) = command.runs_to_evaluate(compose(words), words)
    plain = [r for r in runs if r.key not in {m.key for m in members}]
    assert (len(plain), len(members)) == (3, 6)
    assert all(not r.varied for r in plain)  # the report tells them apart by this
    assert all(m.varied for m in members)
    assert len({r.config.seed for r in runs}) == 9
    fewer = [*words, "study.seeds=2"]
    runs, (six,) = command.runs_to_evaluate(compose(fewer), fewer)
    assert (len(runs), len(six)) == (8, 6)
    fig3, _ = expand(compose(["study=fig3"]).study, [], lambda run: 0.5)
    assert {r.key for r in plain} <= {r.key for r in fig3}
    for only, number in ("plain", 3), ("ensemble 1,ensemble 2", 2):
        some = [*words, f"study.only=[{only}]"]
        found, together = command.runs_to_evaluate(compose(some), some)
        assert (len(found), together) == (number, [])  # no ensemble without all of its networks
    for key in ("model.init_gain", "model.dropout", "model.per_activation_modules"):
        assert 0 < sum(key in m.varied for m in members) < 6
    assert {m.varied.get("model.dropout") for m in members} == {None, 0.05, 0.1}


def test_six_ensembles_share_no_network():
    words = ["study=fig4_photographs"]
    runs, together = command.runs_to_evaluate(compose(words), words)
    assert [len(ensemble) for ensemble in together] == [6] * 6
    assert len({run.key for ensemble in together for run in ensemble}) == 36
    assert len({run.config.seed for run in runs}) == len(runs) == 42
    for ensemble in together:  # one of each kind, in one order
        assert [run.blocks for run in ensemble] == [run.blocks for run in together[0]]


def test_an_ensemble_of_which_a_network_diverged_is_left_out(monkeypatch):
    def outcome(config):
        return Outcome("diverged" if config.seed == 31 else "completed", 5_000, 1.0)

    def row(crops):
        return {"crops": crops, "statistics": "moving"}

    monkeypatch.setattr(multi_crop, "require_finished", outcome)
    monkeypatch.setattr(multi_crop, "evaluate_run", lambda config, crops, progress: row(crops))
    monkeypatch.setattr(command, "ensemble_row", lambda members, crops, done: row(crops))
    words, told = ["study=fig4_photographs"], io.StringIO()
    found = command.evaluate_all(compose(words), words, Console(file=told, width=200))
    whole = [title for title, _ in found if title.startswith("ensemble")]
    assert whole == [f"ensemble {n}, 6 networks" for n in (1, 3, 4, 5, 6) for _ in (1, 144)]
    assert "ensemble 2: a network of it diverged" in told.getvalue()
    assert len(found) == 2 * (41 + 5)


def test_ctrl_c_is_told_and_what_was_evaluated_stays(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "evaluate_all", interrupted)
    code, _, err = call(monkeypatch, capsys, *WORDS, command="evaluate")
    assert code == main.PREEMPTED
    assert err == "stopped; run the same command again to go on\n"


def test_figure_4_goes_from_runs_to_verdicts(monkeypatch, tmp_path, capsys):
    words = ["study=fig4", "scale=smoke", "train.steps=4", "data.train_images=64"]
    words.append(f"runs={tmp_path}")
    config = compose(words)
    runs, _ = expand(config.study, words, lambda run: 0.5)
    for planned in runs:
        assert run(planned.config, log=silent).state == "completed"
    code, told, err = call(monkeypatch, capsys, *words, command="evaluate")
    assert code == 0, err
    assert told.count("144 crops: 16 images") == 7
    assert told.count("ensemble of 6") == 1
    out = tmp_path / "fig4"
    report.report_study(replace(config, out=str(out)), words)
    assert "undecided" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert {"README.md", "evaluations.csv", "runs.csv", "figure4.svg", "figure4.png"} <= names
    shown = next(x for x in told.splitlines() if "ensemble of 6" in x).split()
    with open(out / "evaluations.csv", newline="") as file:
        six = next(row for row in csv.DictReader(file) if row["members"] == "1+2+3+4+5+6")
    by_report = f"{100 * float(six['top1']):.1f}", f"{float(six['loss']):.3f}"
    assert by_report == (shown[-4], shown[-1])
