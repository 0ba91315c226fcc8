"""One call gives the runs of a directory, or of a study; what is wrong is said in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bn_repro import analysis
from bn_repro.analysis import library, results
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import fig1, fig4
from bn_repro.analysis.tables import Member
from bn_repro.records import paths

SHORT: dict[str, Any] = {"steps": 3_000}


def test_importing_it_is_cheap() -> None:
    heavy = "{'torch', 'matplotlib', 'hydra', 'rich', 'scipy'}"
    code = f"import sys, bn_repro.analysis; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_named_is_there() -> None:
    assert all(hasattr(analysis, name) for name in analysis.__all__)


# --- runs -----------------------------------------------------------------------------------------


def test_runs_come_from_a_directory_in_one_call(make_run, tmp_path: Path) -> None:
    make_run("mnist/baseline", 0, **SHORT)
    make_run("mnist/bn", 0, **SHORT)
    make_run("mnist/bn", 1, state="running", **SHORT)
    data = analysis.runs(tmp_path / "runs")
    assert data.runs["model.norm"].tolist() == [False, True, True]
    assert data.runs["state"].tolist() == ["completed", "completed", "running"]
    assert data.traces.empty
    assert str(data) == (
        f"{tmp_path}/runs: 3 runs of 2 configurations (2 completed, 1 running); 40 rows of curves, "
        "0 of traces"
    )
    assert len(analysis.runs(tmp_path / "runs", traces=True).traces) > 100


@pytest.mark.parametrize(
    "copy", ["seed00", "seed7", "../bn-00054321/seed0", "../../old/bn-1/seed0"]
)
def test_a_copy_of_a_run_counts_once(make_run, tmp_path: Path, copy: str) -> None:
    directory = make_run("mnist/bn", 0, **SHORT).directory
    manifest = directory / paths.MANIFEST
    facts = {"started": "2026-01-02T03:04:05Z", "command": "train.py experiment=mnist/bn"}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | facts))
    shutil.copytree(directory, directory.parent / copy)
    data = analysis.runs(tmp_path / "runs")
    assert len(data.runs) == 1
    assert [line for line in data.warnings if "copy" in line] == data.warnings
    assert len(data.warnings) == 1


def test_a_folder_may_be_named_from_the_top_of_the_checkout(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("mnist/bn", 0, **SHORT)
    elsewhere = tmp_path / "notebooks"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(library, "ROOT", elsewhere)
    with pytest.raises(analysis.BadInput, match=f"no run directory under {elsewhere}/runs;"):
        analysis.runs()
    monkeypatch.setattr(library, "ROOT", tmp_path)
    assert len(analysis.runs().runs) == 1
    shutil.copytree(tmp_path / "runs", elsewhere / "runs")
    shutil.rmtree(tmp_path / "runs")
    assert len(analysis.runs().runs) == 1  # what is here comes first


def test_what_is_wrong_with_a_run_is_told_and_the_others_load(make_run, tmp_path: Path) -> None:
    make_run("mnist/baseline", 0, **SHORT)
    for seed, name in enumerate((paths.METRICS, paths.CONFIG)):
        (make_run("mnist/bn", seed, **SHORT).directory / name).unlink()
    data = analysis.runs(tmp_path / "runs")
    assert data.runs["seed"].tolist() == [0, 1]
    told = str(data).splitlines()[1:]
    assert len(told) == 2
    assert told[0].endswith("config.yaml: missing; what this run varies is unknown")
    assert told[1].endswith("metrics.jsonl: missing; this run is left out")


# --- a study --------------------------------------------------------------------------------------


def test_a_study_is_what_was_committed_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = analysis.study("fig1")
    assert (data.name, len(data.members)) == ("fig1", len(data.runs))
    assert set(data.runs["experiment"]) == {"mnist/baseline", "mnist/bn"}
    assert data.warnings == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another ``results/``."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(library, "RESULTS", folder)
    return folder


def commit(members: list[Member], folder: Path) -> None:
    """A report's tables, without its figures."""
    folder.mkdir()
    data = results.merge(results.read(folder), load(members), members)
    data.runs = results.with_steps_to(data, fig1.STUDY.targets_of(data))
    frames = {results.RUNS: data.runs, results.CURVES: data.curves, results.TRACES: data.traces}
    for name, frame in frames.items():
        results.write(folder / name, results.to_csv(frame, name))


def test_a_study_of_other_runs(make_run, tmp_path: Path, home: Path) -> None:
    """From a runs directory come the study's own configurations, as from their report."""
    members = [
        make_run(arm, seed, **SHORT) for arm in ("mnist/baseline", "mnist/bn") for seed in range(2)
    ]
    commit(members, home / "fig1")
    make_run("mnist/bn", 0, id="07e40000", **SHORT)  # another rate, say
    make_run("mnist/bn", 7, **SHORT)  # one more seed
    make_run("mnist/bn", 8, state="running", **SHORT)
    committed = analysis.study("fig1")
    again = analysis.study("fig1", home / "fig1")
    assert again.runs.equals(committed.runs)
    found = analysis.study("fig1", tmp_path / "runs")
    assert found.runs["seed"].tolist() == [0, 1, 0, 1, 7]
    assert list(found.runs) == list(committed.runs)
    assert not found.traces.empty
    ends = [data.where(experiment="mnist/bn", id="1e234567").curve() for data in (committed, found)]
    ends = [wide.loc[1].to_numpy(float) for wide in ends]
    np.testing.assert_allclose(*ends, rtol=1e-5)


def test_what_a_study_varies_is_as_it_was_set(make_run, tmp_path: Path, home: Path) -> None:
    changes = {"model.per_activation_modules": 2, "model.init_gain": 2.0, "model.lrn": True}
    other = {"model.hidden": [5, 5], "data.shuffling": "fixed"}
    members = [
        make_run("mnist/baseline", 0, **SHORT),
        make_run("mnist/baseline", 1, id="0b", varied=changes, **SHORT),
        make_run("mnist/bn", 0, varied=other, **SHORT),
    ]
    commit(members, home / "fig1")
    for data in (analysis.study("fig1"), analysis.study("fig1", tmp_path / "runs")):
        assert [m.varied for m in data.members] == [{}, changes, other]
        kinds = [[type(v) for v in m.varied.values()] for m in data.members]
        assert kinds == [[], [int, float, bool], [list, str]]


def test_a_study_brings_its_own_table(make_run, tmp_path: Path, home: Path) -> None:
    members = []
    for seed, block in enumerate(("plain", "ensemble 1", "ensemble 2")):
        network = {"id": f"0a{seed}", "split": "val", "blocks": block}
        members.append(member := make_run("imagenet/bn_x30", seed, **network, **SHORT))
        row = {"crops": 144, "statistics": "moving", "split": "val", "step": 3_000}
        text = json.dumps(row | {"loss": 1.0, "top1": 0.5, "top5": 0.8})
        (member.directory / paths.EVALUATION).write_text(text + "\n")
    commit(members, home / "fig4")
    extra = fig4.STUDY.extra
    assert extra is not None
    table = extra.rows(members, results.read_extra(home / "fig4" / extra.file))
    results.write(home / "fig4" / extra.file, results.to_csv(table, extra.file))
    for data in (analysis.study("fig4"), analysis.study("fig4", tmp_path / "runs")):
        assert data.extra["top1"].tolist() == [0.5] * 3
        assert [member.seed for member, _ in fig4.networks(data, fig4.SIX)] == [1, 2]
        assert len(fig4.networks(data, fig4.PLAIN)) == 1


# --- nothing to show ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fig4", ["no results in", "bn-repro train study=fig4", "evaluate study=fig4"]),
        ("figure9", ["unknown; there are ablation_421, ", "fig1"]),
        ("no.such/name", ["unknown"]),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_study_without_results_says_what_to_do(name: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match=f"study {name}: ") as refused:
        analysis.study(name)
    line = str(refused.value)
    assert [word for word in words if word not in line] == []
    assert "\n" not in line
    # IPython asks an exception for its traceback
    assert refused.value._render_traceback_() == [f"error: {line}"]  # pyright: ignore


def test_a_package_that_is_no_checkouts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "CHECKOUT", None)
    with pytest.raises(ValueError, match="the package is not a checkout's; give a folder"):
        analysis.study("fig1")


def test_runs_that_are_not_the_studys_say_so(make_run, tmp_path: Path, home: Path) -> None:
    with pytest.raises(ValueError, match="no run directory under"):
        analysis.study("fig1", tmp_path / "runs")
    make_run("mnist/bn", 0, **SHORT)
    with pytest.raises(ValueError, match="none of the 1 runs in .* is finished and configured as"):
        analysis.study("fig1", tmp_path / "runs")
    commit([make_run("mnist/baseline", 0, **SHORT)], home / "fig1")
    make_run("mnist/baseline", 1, state="running", **SHORT)
    shutil.rmtree(tmp_path / "runs/mnist/baseline-00012345/seed0")
    with pytest.raises(ValueError, match="the 2 runs in .* first run bn-repro report"):
        analysis.study("fig1", tmp_path / "runs")


# --- committed rows of another version, or damaged ------------------------------------------------


@pytest.fixture
def table(make_run, tmp_path: Path, home: Path) -> Path:
    commit([make_run("mnist/bn", 0, traces=False, **SHORT)], home / "fig1")
    return home / "fig1" / results.RUNS


def test_a_column_that_another_version_does_not_have_is_left_empty(table: Path) -> None:
    rows = [line.split(",", 9) for line in table.read_text().splitlines()]
    place = rows[0].index("best_step")
    for row in rows:
        del row[place]
    table.write_text("".join(",".join(row) + "\n" for row in rows))
    data = analysis.study("fig1")
    (warning,) = data.warnings
    assert warning == f"{table}: no column best_step, as of another version; left empty"
    assert data.runs["best_step"].isna().tolist() == [True]
    assert data.runs["state"].tolist() == ["completed"]
    assert list(results.with_steps_to(data, [0.9]))[7:9] == ["best_step", "steps_to_0.9"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-10], "it ends within a line"),
        (lambda text: text + "<<<<<<< HEAD\n", "line 3 has no seed"),
        (lambda text: text.replace(",0,completed", ",0.5,completed"), "line 2 has 0.5 for a seed"),
        (
            lambda text: text.replace("completed,3000", "completed,30x0"),
            "line 2 has 30x0 for a step",
        ),
        (lambda text: text.replace("completed,3000", "completed,"), "line 2 has no step"),
        (lambda text: text.replace("completed,3000", "completed,inf"), "line 2 has inf for a step"),
        (lambda text: text + "a,b,c,d" * 20 + "\n", "not readable"),
        (lambda text: text.replace("seed", "seeds", 1), "no column seed"),
        (lambda text: "", "not readable"),
    ],
)
def test_a_damaged_table_is_one_line(table: Path, damage, words: str) -> None:
    table.write_text(damage(table.read_text()))
    with pytest.raises(ValueError, match=words) as refused:
        analysis.study("fig1")
    assert str(refused.value).startswith(f"{table}: ")
    assert "restore it from git" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_study_is_asked_for_after_its_module_was_imported() -> None:
    """``analysis.study`` is a function, and there is a module of that name."""
    code = "from bn_repro import analysis; from bn_repro.analysis.studies import fig1; "
    subprocess.run([sys.executable, "-c", f"{code}analysis.study('fig1')"], check=True)
