"""Run directories become tidy frames; what cannot be read is said in one line, the rest loads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import as_lines

from bn_repro.analysis import frames, tables
from bn_repro.analysis.load import discover, load
from bn_repro.analysis.tables import Member, Runs
from bn_repro.records import paths


def test_columns_and_numbers(make_run) -> None:
    members = [
        make_run("mnist/baseline", 0, steps=3_000, varied={"optimizer.lr": 0.1}, blocks="a+b"),
        make_run("mnist/bn", 4, steps=3_000),
    ]
    data = load(members)
    assert data.warnings == []
    assert list(data.runs) == [*tables.RUN_COLUMNS, "optimizer.lr"]
    assert list(data.curves) == tables.CURVE_COLUMNS
    assert list(data.traces) == tables.TRACE_COLUMNS
    first, second = data.runs.to_dict("records")
    assert (first["experiment"], first["id"], first["seed"]) == ("mnist/baseline", "00012345", 0)
    assert (first["state"], first["step"], first["seconds"]) == ("completed", 3_000, 25.125)
    assert (first["commit"], first["device"]) == ("0123456789ab", "cpu, Made-up CPU, 1 thread")
    assert (first["engine"], first["data"], first["classes"]) == ("eager", "0123456789ab", 10)
    assert (first["optimizer.lr"], first["blocks"], second["blocks"]) == (0.1, "a+b", "")
    assert np.isnan(second["optimizer.lr"])

    # The same numbers as in the file, in its order.
    assert members[1].directory is not None
    lines = (members[1].directory / paths.METRICS).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    mine = frames.select(data.curves, experiment="mnist/bn")
    assert len(mine) == 2 * len(rows)
    assert mine["metric"].tolist()[:2] == ["loss", "top1"]
    assert frames.select(mine, metric="top1")["value"].tolist() == [row["top1"] for row in rows]
    moving = [r["top1"] for r in rows if (r["split"], r["statistics"]) == ("test", "moving")]
    assert second["final_top1"] == moving[-1]
    assert second["best_top1"] == max(moving)
    assert second["best_step"] == 1_000 * (moving.index(max(moving)) + 1)
    assert data.where(experiment="mnist/bn").curve().loc[4].tolist() == moving

    pooled = frames.select(data.traces, experiment="mnist/bn", site="hidden3", unit=None)
    assert len(pooled) == len(frames.select(data.traces, experiment="mnist/bn")) / 6
    assert np.isfinite(pooled["p15"].to_numpy(float)).all()


def test_held_out_images_count_where_there_are_any_else_the_test_set(make_run) -> None:
    """A run that is followed on held-out images may measure the test set once, at its end."""
    member = make_run("mnist/bn", 0, steps=2_000, split="val")
    followed = load([member]).runs["final_top1"].tolist()
    assert followed[0] > 0.5
    path = member.directory / paths.METRICS
    row = {"step": 2_000, "split": "test", "statistics": "moving", "loss": 1.0, "top1": 0.25}
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    assert load([member]).runs["final_top1"].tolist() == followed
    rest = [line for line in path.read_text().splitlines() if '"val"' not in line]
    path.write_text("\n".join(rest) + "\n")
    assert load([member]).runs["final_top1"].tolist() == [0.25]


def test_null_is_nan_and_a_diverged_run_stands_as_asked(make_run) -> None:
    members = [
        make_run("mnist/bn", 0, steps=4_000),
        make_run("mnist/bn", 1, steps=4_000, state="diverged"),
    ]
    data = load(members)
    assert data.runs["state"].tolist() == ["completed", "diverged"]
    assert np.isnan(data.runs["final_top1"][1])
    assert data.runs["best_top1"].tolist()[1] > 0.5
    assert np.isnan(data.curve().loc[1, 4_000])
    assert data.curve(diverged=0.1).loc[1].tolist()[2:] == [0.1, 0.1]
    assert np.isnan(data.final("test").array[1])
    assert data.final("test", diverged=0.1).array[1] == data.final(diverged=0.1).array[1] == 0.1


def test_a_run_that_diverged_before_any_evaluation_is_there(make_run) -> None:
    early = make_run("mnist/bn", 1, steps=2_000, state="diverged")
    (early.directory / paths.METRICS).write_text("")
    data = load([make_run("mnist/bn", 0, steps=2_000), early])
    assert data.curve(diverged=0.1).loc[1].tolist() == [0.1, 0.1]
    assert np.isnan(data.best().array[1])
    assert data.best(missing=0.1).array[1] == 0.1


@pytest.mark.parametrize("kept", [0, 1])
def test_a_completed_run_that_lost_its_rows_is_left_out_and_no_chance(make_run, kept) -> None:
    lost = make_run("mnist/bn", 1, steps=2_000)
    path = lost.directory / paths.METRICS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    data = load([make_run("mnist/bn", 0, steps=2_000), lost])
    assert data.runs["seed"].tolist() == [0]
    assert data.curve(diverged=0.1).index.tolist() == [0]
    (line,) = data.warnings
    assert re.fullmatch(
        rf"{path}: ends at step \d+, but .* at step 2000; this run is left out", line
    )


def test_what_stands_for_a_diverged_run_stands_for_no_other(make_run) -> None:
    """A run of committed rows may have come without its curve."""
    data = load([make_run("mnist/bn", seed, steps=2_000) for seed in (0, 1)])
    data = replace(data, curves=data.curves[data.curves["seed"] == 0])
    assert data.curve(diverged=0.1).loc[1].isna().all()


def test_a_torn_last_line_is_dropped_with_a_warning(make_run) -> None:
    member = make_run("mnist/bn", 0, steps=3_000)
    path = member.directory / paths.METRICS
    whole = load([member]).curves
    path.write_text(path.read_text() + '{"step": 4000, "split": "te')
    data = load([member])
    assert len(data.warnings) == 1
    assert str(path) in data.warnings[0]
    assert "torn" in data.warnings[0]
    pd.testing.assert_frame_equal(data.curves, whole)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (paths.STATUS, None, "missing"),
        (paths.STATUS, "{", "not readable as JSON"),
        (paths.METRICS, None, "missing"),
        (paths.METRICS, '{"step": 1}\n{"st\n{"step": 2}\n', "line 2"),
        (paths.METRICS, "7\n", "whole step on each line"),
        (paths.TRACES, None, "missing"),
    ],
)
def test_a_broken_run_is_left_out_and_the_rest_loads(make_run, name, text, words) -> None:
    good, bad = make_run("mnist/bn", 0, steps=2_000), make_run("mnist/bn", 1, steps=2_000)
    path = bad.directory / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    data = load([good, bad])
    assert data.runs["seed"].tolist() == [0]
    assert set(data.curves["seed"]) == {0}
    (warning,) = data.warnings
    assert str(path) in warning
    assert words in warning
    assert "\n" not in warning


def test_a_missing_manifest_costs_commit_and_device_alone(make_run) -> None:
    member = make_run("mnist/bn", 0, steps=2_000)
    (member.directory / paths.MANIFEST).unlink()
    data = load([member])
    assert (data.runs["commit"][0], data.runs["device"][0]) == ("", "")
    assert len(data.warnings) == 1


def test_members_without_a_directory_are_no_rows() -> None:
    data = load([Member("mnist/bn", "00", 0), Member("mnist/bn", "00", 1, directory=Path("no"))])
    assert (len(data.runs), len(data.curves), len(data.traces)) == (0, 0, 0)
    assert list(data.runs) == tables.RUN_COLUMNS
    assert tables.finished(data).runs.empty
    assert data.curve(diverged=0.1).empty
    assert np.isnan(data.chance)
    assert np.isnan(data.last_step)


def test_discover_finds_runs_and_what_varies(make_run, tmp_path: Path) -> None:
    written = [make_run("mnist/baseline", 0, steps=1_000), make_run("mnist/bn", 3, steps=1_000)]
    (tmp_path / "runs/mnist/bn-1e234567/seed3.old").mkdir()  # moved aside: not a run
    warnings: list[str] = []
    found = discover(tmp_path / "runs", warnings)
    assert warnings == []
    assert [m.key for m in found] == [m.key for m in written]
    assert [m.directory for m in found] == [m.directory for m in written]
    assert [m.varied for m in found] == [{"model.norm": False}, {"model.norm": True}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "missing"),
        ("model: [1\n", "not readable as YAML"),
        ("7\n", "expected a run's configuration"),
        ("model: 7\n", "expected a run's configuration"),
    ],
)
def test_a_configuration_that_is_none_costs_what_varies_alone(
    make_run, tmp_path: Path, text: str | None, words: str
) -> None:
    for experiment, seed in (("mnist/baseline", 0), ("mnist/bn", 0), ("mnist/bn", 1)):
        path = make_run(experiment, seed, steps=1_000).directory / paths.CONFIG
    path.unlink()
    if text is not None:
        path.write_text(text)
    warnings: list[str] = []
    found = discover(tmp_path / "runs", warnings)
    assert [m.varied["model.norm"] for m in found] == [False, True, None]
    (warning,) = warnings
    assert warning.startswith(f"{path}: {words}")
    assert "\n" not in warning
    path.write_text("model:\n  added: 2026-11-20\n")  # a key, and a type, that the others lack
    added = [m.varied["model.added"] for m in discover(tmp_path / "runs", [])]
    assert added[:2] == [None, None]
    assert str(added[2]) == "2026-11-20"


def test_records_of_other_versions_load_as_far_as_they_go(make_run) -> None:
    old, new = (make_run("mnist/bn", seed, steps=2_000) for seed in range(2))
    for name in (paths.METRICS, paths.TRACES):
        path = old.directory / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.pop("statistics", None)
            row.pop("grad_norm", None)
        path.write_text(as_lines(rows))
    (old.directory / paths.STATUS).write_text('{"state": "completed"}')
    (old.directory / paths.MANIFEST).write_text("{}")
    path = new.directory / paths.METRICS
    row = json.loads(path.read_text().splitlines()[-1]) | {"step": 2_001, "split": "extra"}
    row |= {"loss": "large", "top1": None, "note": [1, 2]}
    path.write_text(path.read_text() + json.dumps(row) + "\n")

    data = load([old, new])
    assert data.runs["state"].tolist() == ["completed", "completed"]
    assert data.runs["final_top1"].isna().tolist() == [True, False]
    assert data.runs["step"].tolist() == [0, 2_000]
    assert data.traces["grad_norm"].isna().groupby(data.traces["seed"]).all().tolist() == [
        True,
        False,
    ]
    for split, lost in (("extra", {True}), ("test", {False})):
        values = frames.select(data.curves, split=split, metric="loss")["value"]
        assert set(np.isnan(values.to_numpy(float))) == lost
    assert len(frames.select(data.curves, metric="note")) == 1
    assert data.warnings == [
        f"{old.directory / paths.METRICS}: 5 of 5 rows lack split or statistics, as of another "
        "version; they count for no accuracy",
        f"{path}: loss at step 2001 is no number, and left empty",
        f"{path}: note at step 2001 is no number, and left empty",
    ]


def test_a_table_of_curves_is_of_one_configuration(make_run) -> None:
    members = [make_run("mnist/bn", 0, steps=2_000), make_run("mnist/bn", 1, id="0b", steps=2_000)]
    data = load(members)
    with pytest.raises(ValueError, match=r"2 configurations .*0b, mnist/bn-1e234567.*\.where\("):
        data.curve()
    assert len(data.where(id="0b").curve()) == 1
    path = members[0].directory / paths.METRICS
    path.write_text(2 * path.read_text())
    with pytest.raises(ValueError, match=r"mnist/bn-1e234567 seed 0 has step 1,000 twice"):
        load(members[:1]).curve()


def test_many_runs_take_no_more_of_pandas_than_a_few(make_run, monkeypatch) -> None:
    """A frame for each of hundreds of runs would take most of the time of a report."""
    members = [make_run("mnist/bn", seed, steps=3_000) for seed in range(12)]
    built, init = [], pd.DataFrame.__init__

    def counted(*args, **how) -> None:
        built.append(1)
        init(*args, **how)

    monkeypatch.setattr(pd.DataFrame, "__init__", counted)
    load(members[:2])
    few = len(built)
    assert len(load(members).runs) == 12
    assert 0 < few == len(built) - few


# --- some of the runs -----------------------------------------------------------------------------


@pytest.fixture
def runs(make_run) -> Runs:
    """Two arms at three depths, one of which was not varied; one run is missing."""
    how = {"steps": 2_000, "traces": False}
    found = []
    for arm in ("mnist/baseline", "mnist/bn"):
        for k, depth in enumerate((None, 5, 20)):
            varied = {} if depth is None else {"model.depth": depth}
            blocks = ("rates", "best", "rates+best")[k]
            for seed in (1, 0):
                key = {"id": f"{k}{arm[-1]}", "varied": varied, "blocks": blocks}
                found.append(make_run(arm, seed, top=0.9 + 0.01 * seed, **key, **how))
    found[-1].directory.rename(found[-1].directory.with_name("gone"))
    return load(found)


def test_where_takes_keys_values_and_blocks(runs: Runs) -> None:
    assert len(runs.runs) == 11
    deep = runs.where(depth=20)  # the last part of model.depth
    assert deep.runs["model.depth"].tolist() == [20, 20, 20]
    assert set(deep.curves["id"]) == {"2e", "2n"}
    assert [m.varied for m in deep.members] == [{"model.depth": 20}] * 3
    assert len(runs.where(depth=None).runs) == 4  # not varied
    assert len(runs.where(depth=[5, 20]).runs) == 7
    assert len(runs.where(width=None).runs) == 11  # no such column: missing everywhere
    assert len(runs.where(width=3).runs) == 0
    assert len(runs.where(block="best").runs) == len(runs.where(depth=(5, 20)).runs)
    assert len(runs.where(block=["rates", "best"]).runs) == 11
    assert len(runs.where(block="rates", experiment="mnist/bn", seed=0).runs) == 1


def test_a_block_is_complete_when_all_its_planned_runs_are_there(runs: Runs) -> None:
    assert len(runs.planned(block="best", experiment="mnist/bn")) == 4
    assert runs.complete(block="best", experiment="mnist/baseline")
    assert not runs.complete(block="best", experiment="mnist/bn")
    assert not runs.complete(block="another")


def test_values_are_by_seed_of_one_configuration(runs: Runs) -> None:
    found = runs.final().where(experiment="mnist/bn")
    assert found.levels("depth") == [5, 20, None]
    one = found.where(depth=5)
    assert one.by_seed().index.tolist() == [0, 1]
    assert one.array.tolist() == one.by_seed().tolist()[::-1]
    with pytest.raises(ValueError, match=r"two runs with one seed \(experiment mnist/bn, id"):
        found.by_seed()


def test_chance_is_that_of_the_recorded_classes(make_run) -> None:
    ten, hundred = (make_run("mnist/bn", k, steps=500, chance=c) for k, c in enumerate((0.1, 0.01)))
    assert load([hundred]).chance == 0.01
    with pytest.raises(ValueError, match=r"runs with \[10, 100\] classes differ in chance"):
        _ = load([ten, hundred]).chance


def test_what_is_shared_are_seeds_and_steps() -> None:
    a = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=pd.Index([0, 1]), columns=pd.Index([10, 20]))
    b = pd.DataFrame([[5.0, 6.0], [7.0, 8.0]], index=pd.Index([1, 2]), columns=pd.Index([20, 30]))
    left, right = frames.shared(a, b)
    assert (left.to_dict(), right.to_dict()) == ({20: {1: 4.0}}, {20: {1: 5.0}})
    first, second = frames.shared(a[10], b[30])
    assert (first.to_dict(), second.to_dict()) == ({1: 3.0}, {1: 6.0})
