"""The wheel alone, in an empty folder: composing, training, studies, reports, lists and exports."""

import json
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from support import ROOT

from bn_repro.config import catalogue

SHORT = ["experiment=mnist/bn", "train.steps=10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty one, from which all commands are called."""
    return tmp_path_factory.mktemp("empty")


def test_the_wheel_has_every_file_of_the_package(installed):
    with zipfile.ZipFile(installed.wheel) as wheel:
        packed = set(wheel.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "bn_repro", "hydra_plugins", "configs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert tracked
    for name in tracked:
        inside = f"bn_repro/{name}" if name.startswith("configs/") else name
        assert inside in packed, f"{name}: pyproject.toml leaves it out"
    for table in ROOT.glob("results/*/runs.csv"):
        assert f"bn_repro/{table.relative_to(ROOT).as_posix()}" in packed
    assert not [name for name in packed if name.startswith(("tests", "scripts", "results"))]


def test_the_checkout_is_out_of_reach(installed, folder):
    code = "import bn_repro, sys; print(bn_repro.__file__, *sys.path, sep='\\n')"
    package, *path = installed.evaluate(code, folder).splitlines()
    assert Path(package).is_relative_to(installed.python.parents[1])
    assert not [entry for entry in path if entry and Path(entry) == ROOT]


def test_from_a_run_to_its_report_its_weights_and_its_twin(installed, tmp_path):
    run = a_run_says_where_its_code_is_from(installed, tmp_path)
    a_study_is_reported_beside_its_runs(installed, tmp_path)
    assert "3 runs, 3 completed" in installed.said("status", "live=false", cwd=tmp_path)
    out = installed.said("export", *SHORT, "out=bn.safetensors", cwd=tmp_path)
    assert "wrote bn.safetensors and bn.md" in out
    assert "**Commit.** not known." in (tmp_path / "bn.md").read_text()
    assert "equal: configuration" in installed.said("diff", str(run), str(run), cwd=tmp_path)
    python_loads_it(installed, tmp_path)


def a_run_says_where_its_code_is_from(installed, folder):
    out = installed.said("train", *SHORT, cwd=folder)
    assert "mnist/bn seed 0: completed at step 10" in out
    (file,) = folder.glob("runs/mnist/bn-*/seed0/manifest.json")
    manifest = json.loads(file.read_text())
    origin = {key: manifest[key] for key in ("commit", "dirty", "source")}
    assert origin == {"commit": None, "dirty": None, "source": "wheel"}
    assert manifest["versions"]["bn-repro"] == "0.1.0"
    assert manifest["command"] == "bn-repro train experiment=mnist/bn train.steps=10"
    assert "already completed" in installed.said("train", *SHORT, cwd=folder)
    return file.parent


def a_study_is_reported_beside_its_runs(installed, folder):
    small = ["scale=smoke", "train.steps=20"]
    out = installed.said("study", "fig1", "seeds=1", *small, cwd=folder)
    assert out.count("completed at step 20") == 2
    out = installed.said("report", "study=fig1", "study.seeds=1", *small, cwd=folder)
    assert "tables and verdicts: runs/fig1/README.md" in out
    assert "With 1 seed nothing is decided: give more (study.seeds=5)" in out
    assert "; runs: runs/\n" in out
    assert (folder / "runs" / "fig1" / "figure1.svg").exists()
    readme = (folder / "runs" / "fig1" / "README.md").read_text()
    assert "\nbn-repro train study=fig1 study.seeds=1 scale=smoke train.steps=20\n" in readme
    out = installed.said("report", cwd=folder)
    assert "tables and verdicts: runs/report/README.md" in out


def python_loads_it(installed, folder):
    code = """
from bn_repro import analysis, load
print(len(analysis.runs("runs").runs))
network, config = load("bn.safetensors")
print(config.experiment, network.training)
try: analysis.study("fig1")
except ValueError as error: print(error)
"""
    runs, loaded, refused = installed.evaluate(code, folder).splitlines()
    assert (runs, loaded) == ("3", "mnist/bn False")
    assert "the package is not a checkout's; give a folder: study('fig1', 'CHECKOUT/" in refused


def test_the_list_has_costs_and_verdicts(installed, folder):
    out = installed.said("list", cwd=folder)
    for group in ("experiment", "study"):
        for name in catalogue.names(group):
            assert f"bn-repro train {group}={name}" in out
    assert catalogue.measured_cost("fig1") in out
    assert f"Verdicts: {catalogue.verdicts('fig1')}" in out


def test_configurations_of_ones_own_build_on_ours(installed, folder):
    mine = folder / "mine" / "experiment" / "mnist"
    mine.mkdir(parents=True)
    text = "# @package _global_\ndefaults: [/experiment/mnist/bn, _self_]\nexperiment: mnist/mine\n"
    (mine / "mine.yaml").write_text(text)
    own = ["--config-dir", "mine", "experiment=mnist/mine", "train.steps=10"]
    assert "mnist/mine seed 0: completed" in installed.said("train", *own, cwd=folder)
    path = "hydra.searchpath=[pkg://bn_repro.configs]"
    assert "mnist/mine" in installed.said("train", *own, path, "--cfg", "job", cwd=folder)


def test_a_norm_of_ones_own_trains_without_a_checkout(installed, tmp_path):
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (text,) = re.findall(r"^`mine.py`, new:\n\n```python\n(.*?)```$", page, re.DOTALL | re.M)
    (tmp_path / "mine.py").write_text(text)
    for words in (SHORT, [*SHORT, "model.norm=mine:rms"]):
        assert "completed at step 10" in installed.said("train", *words, cwd=tmp_path)
    runs = sorted(
        (file.parent for file in tmp_path.glob("runs/mnist/bn-*/seed0/config.yaml")),
        key=lambda run: "mine:rms" in (run / "config.yaml").read_text(),
    )
    out = installed.said("diff", *map(str, runs), cwd=tmp_path)
    assert re.search(r"model\.norm.*batch.*mine:rms", out)


def test_what_is_wrong_is_told_as_in_a_checkout(installed, folder):
    done = installed.call("train", "experiment=mnist/bn", "lr=1", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: lr: no such key; did you mean optimizer.lr?")
    again = installed.run(str(installed.python), "-m", "bn_repro", "trian", cwd=folder)
    assert (again.returncode, again.stdout) == (2, "")


def test_every_package_is_named():
    """Also ``hydra_plugins`` itself, which has no module: else an install in place lacks it."""
    modules = [
        path for root in ("bn_repro", "hydra_plugins") for path in ROOT.glob(f"{root}/**/*.py")
    ]
    folders = {path.parent.relative_to(ROOT) for path in modules} | {Path("hydra_plugins")}
    names = {".".join(folder.parts) for folder in folders}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == names | {"bn_repro.configs", "bn_repro.results"}
    assert settings["packages"] == sorted(settings["packages"])
