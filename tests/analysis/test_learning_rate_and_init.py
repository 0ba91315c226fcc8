"""The grid of rates and initial scales: what trains, how widely, and where the best cells are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bn_repro.analysis import report, tables
from bn_repro.analysis.studies import learning_rate_and_init as study
from bn_repro.analysis.tables import Member, StudyData
from bn_repro.config.compose import compose
from bn_repro.records import paths
from bn_repro.sweep.study import accuracy_of, expand
from bn_repro.training.run import run

RATES, STDS = (0.01, 0.1, 1.0, 10.0), (0.01, 0.1, 1.0)
# Rows are rates, columns initial scales.
TOPS = {
    "mnist/baseline": ((0.10, 0.60, 0.10), (0.10, 0.93, 0.80), (0.10, 0.96, 0.90), (0.1, 0.1, 0.1)),
    "mnist/bn": ((0.92, 0.94, 0.70), (0.96, 0.968, 0.92), (0.97, 0.975, 0.972), (0.95, 0.96, 0.97)),
}


def at_the_end(member: Member, top1: float) -> Member:
    """The test set, measured once where val is followed."""
    assert member.directory is not None
    path = member.directory / paths.METRICS
    row = {"step": 4_000, "split": "test", "statistics": "moving", "loss": 1.0, "top1": top1}
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    return member


@pytest.fixture
def members(make_run) -> list[Member]:
    found = []
    how = {"steps": 4_000, "eval_every": 500, "traces": False, "pace": 60}
    for arm, tops in TOPS.items():
        for i, rate in enumerate(RATES):
            for j, std in enumerate(STDS):
                for seed in range(3):
                    varied = {"optimizer.lr": rate, "model.init_std": std, "data.held_out": 10_000}
                    lost = arm == "mnist/baseline" and (i, j) == (3, 2)
                    more = {"dies_at": 700} if lost else {"top": tops[i][j]}
                    run = make_run(
                        arm, seed, id=f"{i}{j}{arm[-1]}", split="val", varied=varied, **more, **how
                    )
                    found.append(run if lost else at_the_end(run, tops[i][j] + 0.001 * seed))
    for arm, top in (("mnist/baseline", 0.96), ("mnist/bn", 0.975)):
        for seed in range(10, 15):
            varied = {"optimizer.lr": 1.0, "model.init_std": 0.1}
            found.append(make_run(arm, seed, id=f"f{arm[-1]}", varied=varied, top=top, **how))
    return found


@pytest.fixture
def data(members: list[Member]) -> StudyData:
    found = tables.load(members)
    found.runs["steps_to_0.9"] = [
        500.0 if value > 0.9 else math.nan for value in found.runs["final_top1"]
    ]
    return found


def test_the_maps_hold_the_test_set_and_the_choice_does_not(data: StudyData) -> None:
    found = study.accuracy(data, "mnist/bn")
    assert found is not None
    assert found.axes == (RATES, STDS)
    assert found.values.shape == (4, 3, 3)
    assert found.values[1, 2].tolist() == pytest.approx([0.92, 0.921, 0.922])
    held_out = study.accuracy(data, "mnist/bn", "val")
    assert held_out is not None
    assert not np.allclose(found.values, held_out.values)
    assert study.chosen(data, "mnist/bn") == (2, 1)
    lost = study.accuracy(data, "mnist/baseline")
    assert lost is not None
    assert lost.values[3, 2].tolist() == [study.CHANCE] * 3


def test_claims_hold_where_bn_is_wider_higher_and_better(data: StudyData) -> None:
    found = {claim.id: claim for claim in study.claims(data)}
    assert {claim.verdict for claim in found.values()} == {"holds"}
    # Of 12 cells 3 reach 90 % without BN (one at 90 % exactly) and 11 with.
    assert found["trains_to_90_difference"].estimate == pytest.approx((11 - 3) / 12)
    # At std 0.1 rates 1 to 1 are good without BN (0.93 is not), 0.1 to 1 with (0.968; 0.96 is not).
    assert found["good_rates_ratio"].estimate == pytest.approx(10)
    assert found["good_scales_ratio"].estimate == pytest.approx(100)
    assert found["highest_rate_ratio"].estimate == pytest.approx(10)


def test_the_same_grid_twice_decides_nothing(members: list[Member], make_run) -> None:
    """BN's own runs under the baseline's name: no claim may hold."""
    data = tables.load([m for m in members if m.experiment == "mnist/bn"])
    twin = (
        data.runs.assign(experiment="mnist/baseline"),
        data.curves.assign(experiment="mnist/baseline"),
    )
    both = StudyData(
        "twins",
        data.members,
        tables.pd.concat([data.runs, twin[0]], ignore_index=True),
        tables.pd.concat([data.curves, twin[1]], ignore_index=True),
        data.traces,
    )
    assert {claim.verdict for claim in study.claims(both)} == {"undecided"}


def test_the_other_way_round_no_claim_holds(data: StudyData) -> None:
    swap = {"mnist/bn": "mnist/baseline", "mnist/baseline": "mnist/bn"}
    for frame in (data.runs, data.curves):
        frame["experiment"] = frame["experiment"].replace(swap)
    assert {claim.verdict for claim in study.claims(data)} == {"does not hold"}


def test_steps_are_infinite_where_the_target_is_never_reached(data: StudyData) -> None:
    found = study.steps(data, "mnist/baseline")
    assert found is not None
    assert found.values[2, 1].tolist() == [500] * 3
    assert np.isinf(found.values[0, 0]).all()


def test_it_is_written_and_drawn(members: list[Member], tmp_path) -> None:
    written = report.write("learning_rate_and_init", members, tmp_path)
    assert {f.stem for f in written.files if f.suffix == ".svg"} == {"figure_grid", "figure_best"}
    text = (tmp_path / "README.md").read_text()
    assert "best cell is rate 1 at std 0.1" in text
    again = report.write("learning_rate_and_init", members, tmp_path)
    assert again.claims == written.claims


@pytest.mark.usefixtures("drawn_once")
def test_half_a_grid_is_told_and_decides_nothing(members: list[Member], tmp_path) -> None:
    some = [m for m in members if m.varied.get("data.held_out")]
    half = [m for k, m in enumerate(some) if k % 5]
    written = report.write("learning_rate_and_init", half, tmp_path)
    assert {claim.verdict for claim in written.claims} == {"undecided"}
    assert "undecided" in (tmp_path / "README.md").read_text()


@pytest.mark.usefixtures("drawn_once")
def test_the_study_at_smoke_scale(tmp_path) -> None:
    words = ["scale=smoke", "train.steps=2", "train.population_batches=2", f"runs={tmp_path}"]
    config, whole, planned = compose(["study=learning_rate_and_init", *words]), False, []
    while not whole:
        planned, whole = expand(config.study, words, accuracy_of)
        assert {run(p.config, log=lambda line: None).state for p in planned} == {"completed"}
    assert len(planned) == 10  # the corners of the grid, and a best cell for each arm
    members = [Member(*p.key, p.varied, p.directory) for p in planned]
    written = report.write("learning_rate_and_init", members, tmp_path / "out")
    assert written.warnings == []
    assert {(claim.n, claim.verdict) for claim in written.claims} == {(1, "undecided")}
