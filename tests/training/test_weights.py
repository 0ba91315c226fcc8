"""A trained network, loaded from its run and from the file that it was exported to."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import ROOT, call

import bn_repro
from bn_repro.config.compose import compose
from bn_repro.config.dataset import DATASETS
from bn_repro.config.identity import directory_of, run_id
from bn_repro.config.schema import Config
from bn_repro.config.stored import stored
from bn_repro.records import paths
from bn_repro.records.json_files import read_rows
from bn_repro.records.reader import read_manifest
from bn_repro.training import weights
from bn_repro.training.build import build, data_of
from bn_repro.training.evaluate import evaluate
from bn_repro.training.run import run

MNIST = ["experiment=mnist/bn", "scale=smoke", "train.steps=20"]
INCEPTION = ["experiment=imagenet/bn_x5", "scale=smoke", "train.steps=2", "data.image_size=64"]
INCEPTION += ["model.norm=weight", "model.auxiliary=true", "model.lrn=true", "model.width=0.05"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Config]:
    """Completed runs of both networks."""
    folder = tmp_path_factory.mktemp("runs")
    both = {"mnist": MNIST, "inception": INCEPTION}
    configs = {name: compose([*words, f"runs={folder}"]) for name, words in both.items()}
    for config in configs.values():
        assert run(config, log=lambda line: None).state == "completed"
    return configs


@pytest.fixture
def own(runs, tmp_path) -> Path:
    """A copy of the digits' run, to be spoilt."""
    return Path(shutil.copytree(directory_of(runs["mnist"]), tmp_path / "run" / "seed0"))


@pytest.fixture
def file(runs, tmp_path) -> Path:
    bn_repro.export(directory_of(runs["mnist"]), tmp_path / "bn.safetensors")
    return tmp_path / "bn.safetensors"


@pytest.mark.parametrize("name", ["mnist", "inception"])
def test_a_run_and_its_file_give_the_network_that_was_measured(runs, tmp_path, name):
    """In eval mode, with the accuracy of the run's last row, and the configuration of its id."""
    config, directory = runs[name], directory_of(runs[name])
    network, loaded = bn_repro.load(directory)
    assert not any(module.training for module in network.modules())
    assert run_id(loaded) == run_id(config)
    assert (loaded.experiment, loaded.seed) == (config.experiment, 0)
    row = [r for r in read_rows(directory / paths.METRICS) if r["statistics"] == "moving"][-1]
    batches = data_of(config).eval_batches(row["split"], batch_size=config.train.eval_batch_size)
    assert evaluate(network, batches)["top1"] == row["top1"]

    made = tmp_path / "deep" / "net.safetensors"
    assert bn_repro.export(directory, made) == made.with_suffix(".md")
    again, told = bn_repro.load(str(made))
    assert run_id(told) == run_id(config)
    x, _ = next(iter(data_of(config).eval_batches(row["split"], batch_size=16)))
    with torch.no_grad():
        assert torch.equal(again(x), network(x))
    weights.load_into(build(config)[0], made)
    content = made.read_bytes()
    bn_repro.export(directory, made)
    assert made.read_bytes() == content


def test_the_card_tells_all_and_nothing_of_the_machine(runs, file):
    directory = directory_of(runs["mnist"])
    card, facts = file.with_suffix(".md").read_text(), read_manifest(directory)
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()[weights.HEADER])
    rows = read_rows(directory / paths.METRICS)
    ((top1),) = [r["top1"] for r in rows if r["step"] == 20 and r["statistics"] == "population"]
    assert f"| test | population | {100 * top1:.1f} % |" in card
    assert f"`{facts['data']}`" in card
    assert f"`{facts['commit']}`" in card
    assert "CC BY-SA 3.0" in card
    assert 'bn_repro.load("bn.safetensors")' in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]) == header["configuration"]
    assert run_id(stored(header["configuration"])) == run_id(runs["mnist"])
    for secret in (runs["mnist"].runs, "wandb", "root", "cache", str(Path.home())):
        assert secret not in json.dumps(header) + card


def test_each_data_set_says_its_licence():
    assert all(kind.licence.endswith(".") for kind in DATASETS.values())
    assert "non-commercial" in DATASETS["tiny_imagenet"].licence


def test_a_run_of_before_shapes_were_recorded_loads_by_its_data(own):
    path = own / paths.MANIFEST
    facts = json.loads(path.read_text())
    assert facts.pop("shape") == [784]
    path.write_text(json.dumps(facts))
    assert bn_repro.load(own).network(torch.zeros(1, 784)).shape == (1, 10)


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=f"^{path}") as error:
        bn_repro.load(path)
    (line,) = str(error.value).splitlines()
    return line.removeprefix(str(path))


def test_what_is_no_trained_network_is_refused_in_a_line(own, tmp_path):
    assert "there is no such run directory" in refused(tmp_path / "absent")
    assert "no run is here" in refused(tmp_path)
    status = json.loads((own / paths.STATUS).read_text())
    for state, said in (("running", "the run is not finished"), ("diverged", "it left no network")):
        (own / paths.STATUS).write_text(json.dumps(status | {"state": state}))
        assert said in refused(own)
    (own / paths.STATUS).write_text(json.dumps(status))
    shutil.rmtree(own / paths.CHECKPOINTS)
    assert "no intact checkpoint of step 20" in refused(own)


def test_a_configuration_of_another_version_is_refused(runs):
    values = asdict(runs["mnist"])
    with pytest.raises(ValueError, match="^model.sharpness: no key of this version"):
        stored({**values, "model": {**values["model"], "sharpness": 1}})
    with pytest.raises(ValueError, match="^model.name: 'transformer' is not one of mlp, inception"):
        stored({**values, "model": {"name": "transformer"}})
    for section, odd in (("optimizer", {"lr": "abc"}), ("model", {"hidden": 5})):
        with pytest.raises(ValueError, match=f"^{section}: a value is of another type"):
            stored({**values, section: {**values[section], **odd}})
    older = {**values, "model": {**values["model"], "lrn": False}}  # a key of Inception's
    assert run_id(stored(older)) == run_id(runs["mnist"])


def spoilt(file: Path, tensors=None, **header) -> Path:
    """The file with other tensors, or with another header."""
    with safe_open(file, framework="pt") as opened:
        told = json.loads(opened.metadata()[weights.HEADER]) | header
    save_file({**load_file(file), **(tensors or {})}, file, {weights.HEADER: json.dumps(told)})
    return file


def test_a_file_that_does_not_fit_is_refused_in_a_line(file):
    whole, tensors = file.read_bytes(), load_file(file)
    name = "layers.hidden2.linear.weight"
    other = {name: torch.zeros(100, 50)}
    assert f"{name} is 100x50 there and 100x100 here" in refused(spoilt(file, other))
    file.write_bytes(whole)
    half = {name: tensors[name].half()}
    assert f"{name} is 100x100 torch.float16 there and 100x100 here" in refused(spoilt(file, half))
    file.write_bytes(whole)
    more = {"more": torch.tensor(1.0)}
    assert "more is a number there and missing here" in refused(spoilt(file, more))
    file.write_bytes(whole)
    assert "classifier.weight is 10x100 there and 7x100 here" in refused(spoilt(file, classes=7))
    file.write_bytes(whole)
    assert "its header is not whole" in refused(spoilt(file, classes="ten"))
    file.write_bytes(whole)
    odd = {"model": 3}
    assert "model: a value is of another type" in refused(spoilt(file, configuration=odd))
    file.write_bytes(whole[:-100])
    assert "not readable as safetensors" in refused(file)
    save_file(tensors, file)
    assert "not written by bn_repro" in refused(file)


def test_a_norm_that_a_file_cannot_bring_is_not_imported(file, runs):
    values = asdict(runs["mnist"])
    norm = {**values["model"], "norm": "antigravity:norm"}
    spoilt(file, configuration={**values, "model": norm})
    assert "its norm, antigravity:norm, is code that no file brings" in refused(file)
    assert "antigravity" not in sys.modules
    model, _ = build(runs["mnist"])
    weights.load_into(model, file)
    with pytest.raises(ValueError, match="is of another network"):
        weights.load_into(torch.nn.Linear(2, 2), file)


COMMITTED = sorted((ROOT / "results").glob("*/weights/*.safetensors"))


def test_the_committed_networks_are_small_and_of_both_kinds():
    assert sum(path.stat().st_size for path in COMMITTED) <= 1.5e6
    names = {path.relative_to(ROOT / "results").as_posix() for path in COMMITTED}
    both = {f"fig1/weights/{arm}_seed0.safetensors" for arm in ("baseline", "bn")}
    assert names > both
    assert any(name.startswith("fig3_digits/") for name in names)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_committed_network_has_its_recorded_accuracy(path):
    """On the digits that ship; it is a run of its study, trained from a commit, with its card."""
    network, config = bn_repro.load(path)
    header, _ = weights.read(path)
    (recorded,) = [row for row in header["accuracy"] if row["statistics"] == "moving"]
    data = data_of(config)
    found = evaluate(network, data.eval_batches(recorded["split"], batch_size=1000))
    assert abs(found["top1"] - recorded["top1"]) < 1.5e-4  # another machine may see one image else
    assert abs(found["loss"] - recorded["loss"]) < 1e-4
    assert (data.name, data.fingerprint) == ("mnist_binary", header["data"])
    assert not header["dirty"]
    with open(path.parents[1] / "runs.csv", newline="") as file:
        rows = {(row["experiment"], row["id"], row["seed"]) for row in csv.DictReader(file)}
    assert (config.experiment, run_id(config), str(config.seed)) in rows
    card = path.with_suffix(".md").read_text()
    for said in ("CC BY-SA 3.0", f'bn_repro.load("{path.name}")', header["commit"]):
        assert said in card
    page = (path.parents[1] / "README.md").read_text()
    assert f"[`weights/{path.name}`](weights/{path.stem}.md)" in page


def test_the_script(runs, tmp_path, monkeypatch, capsys):
    words = [*MNIST, f"runs={runs['mnist'].runs}"]
    code, out, err = call(monkeypatch, capsys, *words, command="export")
    made = directory_of(runs["mnist"]) / "weights.safetensors"
    assert (code, out) == (0, f"wrote {made} and {made.with_suffix('.md')}\n"), err
    assert made.exists()
    for more, said in (
        (f"out={tmp_path / 'net'}", "net: expected a name that ends in .safetensors"),
        ("seed=1", "seed1: no run is here; train it first, or give the directory of one"),
    ):
        code, _, err = call(monkeypatch, capsys, *words, more, command="export")
        assert (code, err.endswith(f"{said}\n")) == (2, True), err
    code, _, err = call(monkeypatch, capsys, "seed=0", command="export")
    assert (code, "nothing to export: give experiment=" in err) == (2, True)
