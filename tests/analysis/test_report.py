"""A report written from its own files is the one written beside the runs, byte for byte."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from analysis.conftest import write_run
from support import ROOT

from bn_repro.analysis import frames, prose, report, results, summary, tables
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import bn_alone, fig1
from bn_repro.analysis.tables import BadInput, Member
from bn_repro.cli import report as command


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _short(make_run, seeds: Sequence[int] = range(3), **how) -> list[Member]:
    how = {"steps": 3_000} | how
    return [make_run(arm, s, **how) for arm in ("mnist/baseline", "mnist/bn") for s in seeds]


Whole = tuple[list[Member], Path, report.Report]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Figure 1's runs, its results as they were written beside them, and what was said."""
    root = tmp_path_factory.mktemp("whole")
    arms = ("mnist/baseline", "mnist/bn")
    members = [write_run(root / "runs", a, s, probes=s == 0) for a in arms for s in range(5)]
    return members, root / "out", report.write("fig1", members, root / "out")


def test_what_is_written(whole: Whole) -> None:
    _, out, found = whole
    assert list(found.warnings) == []
    figures = ["figure1", *(f"figure1_{p}" for p in ("units", "layers", "inference", "all_units"))]
    assert list(found.figures) == figures
    tables = {"runs.csv", "curves.csv.gz", "traces.csv.gz", "probes.csv.gz"}
    assert set(found.files) == tables
    assert set(_bytes(out)) == tables | {
        *("claims.json", "README.md"),
        *(f"{figure}.{kind}" for figure in figures for kind in ("svg", "png")),
    }
    runs = (out / "runs.csv").read_text().splitlines()
    assert runs[0] == (
        "experiment,id,seed,state,step,final_top1,best_top1,best_step,"
        "steps_to_0.9,steps_to_0.95,steps_to_0.97,seconds,commit,device,engine,data,classes,blocks"
    )
    assert len(runs) == 11
    assert runs[1].startswith("mnist/baseline,00012345,0,completed,50000,0.")
    assert ",,25.125,0123456789ab," in runs[1]  # never reached: null
    assert runs[1].endswith(',"cpu, Made-up CPU, 1 thread",eager,0123456789ab,10,')
    packed = (out / "curves.csv.gz").read_bytes()
    assert packed[3] == 0  # no file name in the header
    assert packed[4:8] == bytes(4)  # and no time
    head = gzip.decompress(packed).decode().splitlines()[0]
    assert head == "experiment,id,seed,step,split,statistics,metric,value"
    rows = json.loads((out / "claims.json").read_text())
    assert [row["verdict"] for row in rows[:4]] == ["holds"] * 4  # as the fixture was made
    readme = (out / "README.md").read_text()
    for word in ("Made-up CPU", "engine: eager", "0123456789ab", "](figure1.svg)", "**holds**: "):
        assert word in readme
    assert found.commands == [
        "bn-repro train study=fig1",
        "bn-repro report study=fig1 out=runs/fig1",
    ]
    assert "Not the committed study" not in readme


def test_a_clean_checkout_rewrites_no_byte(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    before = _bytes(out)
    report.write("fig1", [replace(m, directory=tmp_path / "gone") for m in whole[0]], out)
    assert _bytes(out) == before
    # Not because files were left alone: drawn and written anew they are the same.
    for path in out.iterdir():
        if path.suffix in (".svg", ".png", ".json", ".md"):
            path.unlink()
    report.write("fig1", [replace(m, directory=None) for m in whole[0]], out)
    assert _bytes(out) == before


def test_a_figure_is_drawn_anew_where_what_it_shows_has_changed(tmp_path: Path) -> None:
    before = report._digest(tmp_path, fig1.STUDY, "fig1")
    for file in (results.RUNS, results.CORRECT):
        (tmp_path / file).write_bytes(b"rows")
        after = report._digest(tmp_path, fig1.STUDY, "fig1")
        assert after != before
        before = after
    drawn = report._drawing(bn_alone.STUDY.figures.__module__)
    numbers = ("speed", "intervals", "quantities", "gates", "tables", "steps_to", "frames")
    assert {f"bn_repro.analysis.{name}" for name in numbers} <= drawn


@pytest.mark.usefixtures("light")
def test_runs_found_replace_their_rows_and_others_stay(make_run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    members = _short(make_run)
    report.write("fig1", members, out)
    first = results.read(out)
    shutil.rmtree(tmp_path / "runs")
    again = make_run("mnist/bn", 1, steps=3_000, top=0.5)
    more = make_run("mnist/bn", 3, steps=3_000)
    report.write("fig1", [*members, more], out)
    second = results.read(out)
    keys = second.runs[tables.KEY].to_numpy().tolist()
    assert keys == [list(m.key) for m in [*members, more]]  # once each, in the study's order
    changed = second.runs["final_top1"].tolist()[4]
    assert changed == load([again]).runs["final_top1"].tolist()[0]
    kept = [0, 1, 2, 3, 5]
    pd.testing.assert_frame_equal(first.runs.iloc[kept], second.runs.iloc[kept])
    assert len(second.curves) - len(first.curves) == len(load([more]).curves)
    for frame in ("curves", "traces"):
        old = frames.select(getattr(first, frame), experiment="mnist/baseline")
        new = frames.select(getattr(second, frame), experiment="mnist/baseline")
        pd.testing.assert_frame_equal(old, new)


@pytest.mark.usefixtures("light")
def test_rows_that_are_no_members_are_dropped(make_run, tmp_path: Path) -> None:
    members = _short(make_run)
    report.write("fig1", members, tmp_path / "out")
    report.write("fig1", members[:2], tmp_path / "out")
    data = results.read(tmp_path / "out")
    assert len(data.runs) == 2
    assert set(data.curves["experiment"]) == {"mnist/baseline"}
    assert set(data.traces["seed"]) == {0, 1}


@pytest.mark.usefixtures("light")
def test_a_row_that_is_no_members_is_told_where_nothing_is_written(
    make_run, tmp_path: Path
) -> None:
    members, out = [make_run("mnist/bn", seed) for seed in range(2)], tmp_path / "out"
    report.write("fig1", members, out)
    with pytest.raises(BadInput, match=r"fig1: runs.csv has 1 of 2 rows that .* ask for, as mnist"):
        report.read("fig1", out, members[:1])


@pytest.mark.usefixtures("light")
def test_an_unfinished_run_replaces_nothing(make_run, tmp_path: Path) -> None:
    members = _short(make_run)
    out = tmp_path / "out"
    report.write("fig1", members, out)
    before = _bytes(out)
    shutil.rmtree(tmp_path / "runs")
    make_run("mnist/bn", 0, steps=1_000, state="running")
    report.write("fig1", members, out)
    assert _bytes(out) == before


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    typed = ["scale=smoke", "out=there"]
    hint = r"none of its 1 runs is finished.*: bn-repro train study=fig1 scale=smoke$"
    with pytest.raises(ValueError, match=hint):
        report.write("fig1", [Member("mnist/bn", "00", 0)], tmp_path / "out", overrides=typed)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("light")
def test_a_broken_run_is_said_and_left_out(make_run, tmp_path: Path) -> None:
    members = _short(make_run)
    (tmp_path / "runs/mnist/bn-1e234567/seed2/metrics.jsonl").unlink()
    found = report.write("fig1", members, tmp_path / "out")
    assert len(found.warnings) == 1
    assert not found.finished
    assert "- 5 of 6 runs; seeds a setting: 2 to 3;" in (tmp_path / "out/README.md").read_text()


def test_a_table_that_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"runs\.csv: no column experiment"):
        results.read(tmp_path)
    (tmp_path / "curves.csv.gz").write_bytes(b"not gzip")
    (tmp_path / "runs.csv").unlink()
    with pytest.raises(ValueError, match=r"curves\.csv\.gz: not readable"):
        results.read(tmp_path)


@pytest.mark.usefixtures("light")
def test_stale_figures_go(make_run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "figure9.svg").write_text("old")
    report.write("fig1", _short(make_run, seeds=range(1)), out)
    assert not (out / "figure9.svg").exists()


def test_varied_keys_keep_their_types(make_run, tmp_path: Path) -> None:
    members = [
        make_run("mnist/bn", 0, steps=1_000, varied={"data.held_out": 10_000, "model.hidden": [5]}),
        make_run("mnist/bn", 1, steps=1_000, varied={"optimizer.lr": 0.1}),
    ]
    data = results.merge(results.read(tmp_path), load(members), members)
    text = results.to_csv(data.runs, results.RUNS)
    first, second = text.splitlines()[1:]
    assert first.endswith(",10000,[5],")
    assert second.endswith(",,,0.1")
    assert data.runs["data.held_out"].tolist() == [10_000, None]


@pytest.mark.usefixtures("light")
def test_runs_of_two_engines_are_refused_and_nothing_is_written(make_run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    members = _short(make_run)
    report.write("fig1", members, out)
    before = _bytes(out)
    other = make_run("mnist/bn", 3, steps=3_000, engine="compiled")
    with pytest.raises(
        BadInput, match=r"its runs of mnist/ used several engines \(compiled, eager\)"
    ):
        report.write("fig1", [*members, other], out)
    assert _bytes(out) == before


@pytest.mark.usefixtures("light")
def test_two_families_of_networks_may_have_an_engine_each(make_run, tmp_path: Path) -> None:
    made = [
        make_run("mnist/bn", 0, steps=1_000, engine="eager"),
        make_run("imagenet/bn_baseline", 0, steps=1_000, engine="graphed"),
    ]
    report.write("fig1", made, tmp_path / "out")
    other = make_run("imagenet/bn_baseline", 1, steps=1_000, engine="eager")
    with pytest.raises(BadInput, match=r"runs of imagenet/ used several .*\(eager, graphed\)"):
        report.write("fig1", [*made, other], tmp_path / "other")


@pytest.mark.usefixtures("light")
def test_a_row_of_a_time_before_engines_is_an_eager_one(make_run, tmp_path: Path) -> None:
    old, new = (
        make_run("mnist/bn", 0, steps=1_000, engine=""),
        make_run("mnist/bn", 1, steps=1_000),
    )
    report.write("fig1", [old, new], tmp_path / "out")
    other = make_run("mnist/bn", 2, steps=1_000, engine="by_hand")
    with pytest.raises(BadInput, match=r"several engines \(by_hand, eager\)"):
        report.write("fig1", [old, other], tmp_path / "other")


@pytest.mark.usefixtures("light")
def test_a_run_on_other_data_leaves_the_committed_row_and_is_said(make_run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    members = _short(make_run)
    report.write("fig1", members, out)
    before = _bytes(out)
    shutil.rmtree(tmp_path / "runs")
    make_run("mnist/bn", 1, steps=3_000, top=0.5, data="fedcba9876543210")
    found = report.write("fig1", members, out)
    (line,) = found.warnings
    assert line.startswith("mnist/bn-1e234567 seed 1: ")
    assert "data fedcba987654" in line
    assert "0123456789ab" in line
    assert "\n" not in line
    assert _bytes(out) == before


@pytest.mark.usefixtures("light")
def test_a_report_on_runs_of_ones_own_says_how_they_were_made(make_run, tmp_path: Path) -> None:
    typed = ["scale=smoke", "wandb=offline", "out=my results"]
    typed_html = [*typed, "wandb.project=<img src=x onerror=alert(1)>", "data.limit=</code>"]
    typed_html += ["data.root=\x1b[2Jx"]
    members = _short(make_run, seeds=range(1))
    found = report.write("fig1", members, tmp_path / "out", overrides=typed)
    commands = [
        "bn-repro train study=fig1 scale=smoke wandb=offline",
        "bn-repro report study=fig1 scale=smoke wandb=offline 'out=my results'",
    ]
    assert found.commands == commands
    readme = (tmp_path / "out/README.md").read_text()
    assert "\n".join(commands) in readme
    assert "these runs were made with `scale=smoke`." in readme
    report.write("fig1", members, tmp_path / "h", overrides=typed_html)
    readme = (tmp_path / "h/README.md").read_text()
    assert "&lt;img src=x" in readme
    assert not re.search("<[a-zA-Z/!]", readme)
    assert "\x1b" not in readme


def test_a_cell_of_a_table_is_one_cell() -> None:
    made = prose.table([["key", "value"], ["model.norm", "a|b\n# c"]])
    assert made.splitlines()[2:] == [r"| model.norm | a\|b # c |"]


@pytest.mark.usefixtures("light")
def test_with_one_seed_the_step_shown_is_the_worst(make_run, tmp_path: Path) -> None:
    members = [
        make_run("mnist/baseline", 0, steps=9_000, top=0.96, pace=900),
        make_run("mnist/bn", 0, steps=9_000, top=0.965, pace=300),
    ]
    found = report.write("fig1", members, tmp_path / "out")
    without, with_bn = fig1.curves(found.runs)
    lead = (with_bn - without).to_numpy()[0]
    (ahead,) = (c for c in found.claims if c.id == "ahead_at_each_step_difference")
    assert lead.argmin() > 0
    assert ahead.quantity.interval.estimate == pytest.approx(lead.min())
    assert ahead.verdict == "undecided"
    assert ahead.reason.startswith("fewer than 5 seeds")
    assert "at each step**: 1 seed: too few for an interval." in found.prose["findings"]


def test_verdicts_are_printed(whole: Whole, capsys) -> None:
    command.print_verdicts(whole[2])
    shown = capsys.readouterr().out
    held = sum(claim.verdict == "holds" for claim in whole[2].claims)
    assert shown.count("holds:") == held >= 4
    assert not [line for line in shown.splitlines() if line.endswith(" ")]
    assert "[+" in shown  # an interval, not markup


def test_commands_name_the_folder_that_a_study_needs() -> None:
    command = "bn-repro train study=fig3"
    assert summary.training_command("fig3", []) == f"{command} data.root=FOLDER"
    for typed in ("data.root=/x", "scale=smoke", "data=synthetic"):
        assert summary.training_command("fig3", [typed]) == f"{command} {typed}"
    assert summary.training_command("fig1", []) == "bn-repro train study=fig1"
    assert summary.training_command("of tomorrow", []).endswith("'study=of tomorrow'")


@pytest.mark.parametrize("scale", ["proxy", "smoke"])
def test_the_title_has_the_scale_that_was_asked_for(scale: str) -> None:
    typed = [f"scale={scale}"] * (scale != "proxy")
    folder = ROOT / "results" / "fig4"
    found = report.read("fig4", folder, results.read(folder, "fig4").members, overrides=typed)
    expected = {"proxy": "10,000 steps", "smoke": "at smoke scale"}
    assert f"literal rates, {expected[scale]}: many crops" in found.title
