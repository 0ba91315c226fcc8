"""Figure 4's table, claims and figure, from evaluations that are made up, with and without runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import as_lines

from bn_repro.analysis import ensembles, frames, report, results, tables
from bn_repro.analysis.studies import fig4, fig4_runs
from bn_repro.analysis.tables import Member
from bn_repro.records import paths

pytestmark = pytest.mark.usefixtures("drawn_once")
CHANGES: list[dict[str, Any]] = [
    {"model.init_gain": 2.0},
    {"model.dropout": 0.05},
    {"model.per_activation_modules": 1},
    {"model.init_gain": 2.0, "model.dropout": 0.1},
    {"model.dropout": 0.05, "model.per_activation_modules": 2},
    {"model.init_gain": 2.0, "model.dropout": 0.1, "model.per_activation_modules": 1},
]
IMAGES, CLASSES = 400, 25
Evaluate = Callable[..., None]


def evaluate(member: Member, crops: int, *, signal: float, statistics: str = "moving") -> None:
    """Predictions whose logits hold the truth ``signal`` strong, in noise of the network's own."""
    noise = np.random.default_rng([crops, int(10 * signal), *member.id.encode(), member.seed])
    labels = np.arange(IMAGES) % CLASSES
    logits = noise.normal(size=(IMAGES, CLASSES))
    logits[np.arange(IMAGES), labels] += signal
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert member.directory is not None
    path = paths.predictions_file(member.directory, crops, statistics)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, probabilities=p.astype(np.float32), labels=labels)
    row = {"crops": crops, "statistics": statistics, "split": "val", "step": 3_000}
    with open(member.directory / paths.EVALUATION, "a") as file:
        file.write(json.dumps(row | ensembles.measure(p.astype(np.float32), labels)) + "\n")


@pytest.fixture
def members(make_run) -> list[Member]:
    """Three runs of BN-x30 and the six of the ensemble, evaluated both ways."""
    how = {"steps": 3_000, "split": "val", "traces": False}
    plain = {"id": "0a000000", "blocks": "plain"}
    found = [make_run("imagenet/bn_x30", seed, **plain, **how) for seed in range(3)]
    for place, varied in enumerate(CHANGES, start=1):
        own = {"id": f"0b00000{place}", "varied": varied, "blocks": f"ensemble {place}"}
        found.append(make_run("imagenet/bn_x30", 2 + place, **own, **how))
    for member in found:
        evaluate(member, 1, signal=1.8)
        evaluate(member, 144, signal=2.1)
    return found


def written(members: list[Member], out: Path) -> tuple[list[Any], pd.DataFrame, str]:
    found = report.write("fig4", members, out)
    rows = pd.read_csv(out / "evaluations.csv")
    return list(found.claims), rows, (out / "README.md").read_text()


def forget(member: Member) -> None:
    """What an evaluation leaves, gone."""
    assert member.directory is not None
    (member.directory / paths.EVALUATION).unlink()
    shutil.rmtree(member.directory / paths.PREDICTIONS)


def test_the_claims_hold_where_crops_and_networks_help(members, tmp_path):
    claims, rows, readme = written(members, tmp_path / "out")
    crops, ensemble = claims
    assert (crops.verdict, crops.n) == ("holds", 9)
    single, multi = (
        frames.select(rows, crops=k).query("experiment != 'ensemble'")["top1"].to_numpy()
        for k in (1, 144)
    )
    assert crops.quantity.interval.estimate == pytest.approx((multi - single).mean(), rel=1e-4)
    assert (ensemble.verdict, ensemble.n) == ("undecided", 1)  # one ensemble, one observation
    assert ensemble.reason.startswith("fewer than 5 ensembles")
    of_six = frames.select(rows, experiment="ensemble", crops=144, models=6)
    name = of_six["id"].iloc[0]
    plain = frames.select(rows, experiment="imagenet/bn_x30", crops=144)["top1"].iloc[:3]
    lead = of_six["top1"].iloc[0] - plain.mean()
    assert ensemble.quantity.interval.estimate == pytest.approx(lead, rel=1e-4)
    alone = frames.select(rows, experiment="ensemble", id=name, crops=144, models=1)["top1"]
    over_best = 100 * (of_six["top1"].iloc[0] - alone.max())
    assert f"accuracy minus its best member's is {over_best:+.2f} points [" in readme
    assert len(rows) == 9 * 2 + 2 * 63 + 2 * 7
    triples = frames.select(rows, experiment="ensemble", crops=144, models=3, members="1+2+3")
    (equals,) = triples.loc[triples["id"] != name, "top1"]
    alike = f"the 3 plain BN-x30 by 144 crops have {100 * (1 - equals):.1f} % top-1 error together"
    assert alike in readme
    assert "| BN-Inception ensemble | 144 | 6 | 20.10 % |" in readme
    assert "bn-repro evaluate study=fig4" in readme
    assert "(evaluations.csv)" in readme


def test_crops_that_harm_turn_the_verdict(members, tmp_path):
    for member in members:
        assert member.directory is not None
        (member.directory / paths.EVALUATION).unlink()
        evaluate(member, 1, signal=2.4)
        evaluate(member, 144, signal=1.4)
    assert written(members, tmp_path / "out")[0][0].verdict == "does not hold"


def test_networks_that_agree_gain_nothing_by_an_ensemble(members, tmp_path):
    first = members[3].directory
    assert first is not None
    for member in members[4:]:
        assert member.directory is not None
        for name in (paths.PREDICTIONS, paths.EVALUATION):
            target = member.directory / name
            (shutil.rmtree if target.is_dir() else Path.unlink)(target)
            (shutil.copytree if (first / name).is_dir() else shutil.copy)(first / name, target)
    readme = written(members, tmp_path / "out")[2]
    assert readme.count("minus its best member's is +0.00 points [+0.00, +0.00]") == 2


def test_every_subset_is_the_mean_of_its_members(members):
    rows = fig4.extra(members, pd.DataFrame(columns=tables.KEY))
    labels, loaded = np.arange(IMAGES) % CLASSES, []
    for member in members[3:]:
        assert member.directory is not None
        with np.load(paths.predictions_file(member.directory, 144, "moving")) as file:
            loaded.append(file["probabilities"])
    shown = frames.select(rows, experiment="ensemble", crops=144)
    for subset in combinations(range(6), 3):
        p = np.mean([loaded[i].astype(float) for i in subset], axis=0)
        row = frames.select(shown, members="+".join(str(i + 1) for i in subset)).iloc[0]
        right = p.argmax(1) == labels
        assert row["top1"] == right.mean()
        assert row["loss"] == pytest.approx(-np.log(p[np.arange(IMAGES), labels]).mean())
        alone = [loaded[i].argmax(1) == labels for i in subset]
        best = max(a.mean() for a in alone)
        assert row["gained"] - row["lost"] == round(IMAGES * (right.mean() - best))


def test_a_clean_checkout_rewrites_no_byte(members, tmp_path):
    out = tmp_path / "out"
    written(members, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(tmp_path / "runs")
    for path in out.iterdir():
        if path.suffix in (".svg", ".png", ".json", ".md"):
            path.unlink()
    written([replace(m, directory=None) for m in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_runs_without_evaluations_keep_the_committed_rows(members, tmp_path):
    out = tmp_path / "out"
    first = written(members, out)[1]
    for member in members:
        forget(member)
    pd.testing.assert_frame_equal(written(members, out)[1], first)


def test_an_ensemble_is_forgotten_when_a_network_of_it_is_another(members, tmp_path):
    out = tmp_path / "out"
    written(members, out)
    for member in members[3:]:
        forget(member)
    evaluate(members[5], 144, signal=1.0)
    claims, rows, _ = written(members, out)
    of_six = ensembles.name_of(fig4_runs.ensembles_of(members, fig4.SIX)[0])
    assert frames.select(rows, experiment="ensemble", id=of_six, crops=144).empty
    assert claims[1].verdict == "undecided"
    assert claims[1].n == 0


def test_without_evaluations_nothing_is_decided_and_the_way_is_told(members, tmp_path):
    for member in members:
        forget(member)
    claims, rows, readme = written(members, tmp_path / "out")
    assert {c.verdict for c in claims} == {"undecided"}
    assert rows.empty
    assert "No evaluations yet: `bn-repro evaluate study=fig4`" in readme
    assert not list((tmp_path / "out").glob("figure4*"))


def test_a_single_crop_alone_is_drawn_and_told(members, tmp_path):
    for member in members:
        assert member.directory is not None
        paths.predictions_file(member.directory, 144, "moving").unlink()
        path = member.directory / paths.EVALUATION
        path.write_text(path.read_text().splitlines()[0] + "\n")
    claims, rows, readme = written(members, tmp_path / "out")
    assert {c.verdict for c in claims} == {"undecided"}
    assert set(rows["crops"]) == {1}
    assert "**The ensemble, single crop**" in readme
    assert (tmp_path / "out/figure4.svg").exists()


def test_a_damaged_record_is_told(members, tmp_path):
    path = members[0].directory / paths.EVALUATION
    path.write_text('{"crops": 1, "st\n' + path.read_text())
    with pytest.raises(ValueError, match="evaluation.jsonl: .*; remove it and evaluate"):
        report.write("fig4", members, tmp_path / "out")


def test_the_figure_shows_every_network_and_every_ensemble(members, tmp_path):
    out = tmp_path / "out"
    report.write("fig4", members, out)
    data = results.of_members(results.read(out, "fig4"), members)
    data.extra = results.read_extra(out / "evaluations.csv")
    figure = fig4.figures(data)["figure4"]
    figure.draw_without_rendering()
    left, middle, right = figure.axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels[0] == "BN-x30"
    assert "weights x2, dropout 10 %" in labels
    assert "dropout 5 %, BN per\nactivation in the last 2\nmodules" in labels
    assert labels[-2:] == ["ensemble of plain BN-x30", "ensemble of the six"]
    assert len(labels) == 9
    for axes in (middle, right):
        points = [len(np.asarray(line.get_xdata())) for line in axes.lines]
        assert points == [63, 6, 63, 6, 7, 3, 7, 3]
    for line in (middle.lines[3], middle.lines[-1]):
        assert (np.diff(np.asarray(line.get_ydata(), float)) < 0).all()  # as made up


def test_the_interval_over_images_is_that_of_resampling_them():
    found = ensembles.over_images(60, 30, 1_000)
    difference = np.r_[np.ones(60), -np.ones(30), np.zeros(910)]
    draws = np.random.default_rng(0).integers(1_000, size=(4_000, 1_000))
    low, high = np.quantile(difference[draws].mean(1), [0.025, 0.975])
    assert found.estimate == pytest.approx(0.03)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))
    assert found.n == 1_000


def test_top_5_is_left_out_where_it_was_not_measured(members, tmp_path):
    for member in members:
        assert member.directory is not None
        path = member.directory / paths.EVALUATION
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            del row["top5"]
        path.write_text(as_lines(rows))
    _, rows, readme = written(members, tmp_path / "out")
    assert rows["top5"].isna().to_numpy().all()
    assert "and the top-5 error by" not in readme
