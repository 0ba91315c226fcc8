"""The grid of rates and initial scales: what trains, how widely, and where the best cells are."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analysis.conftest import write_run

from bn_repro.analysis import report, results
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import learning_rate_and_init as study
from bn_repro.analysis.studies import learning_rate_and_init_figures as maps
from bn_repro.analysis.studies import learning_rate_and_init_runs as grid_runs
from bn_repro.analysis.style import BASELINE, BN
from bn_repro.analysis.tables import Member, Runs
from bn_repro.records import paths

RATES, STDS = (0.01, 0.1, 1.0, 10.0), (0.01, 0.1, 1.0)
# Rows are rates, columns initial scales.
TOPS = {
    "mnist/baseline": ((0.10, 0.60, 0.10), (0.10, 0.93, 0.80), (0.10, 0.96, 0.90), (0.1, 0.1, 0.1)),
    "mnist/bn": ((0.92, 0.94, 0.70), (0.96, 0.968, 0.92), (0.97, 0.975, 0.972), (0.95, 0.96, 0.97)),
}


def test_a_seed_that_trains_at_no_rate_counts_as_one_that_trains_up_to_0() -> None:
    row = Grid(((0.1, 1.0, 10.0),), (0, 1), np.array([[0.95, 0.1], [0.93, 0.2], [0.1, 0.1]]))
    assert grid_runs.highest(row).tolist() == [1.0, 0.0]


def at_the_end(member: Member, top1: float) -> Member:
    """The test set, measured once where val is followed."""
    assert member.directory is not None
    path = member.directory / paths.METRICS
    row = {"step": 4_000, "split": "test", "statistics": "moving", "loss": 1.0, "top1": top1}
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    return member


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    found, place = list[Member](), tmp_path_factory.mktemp("runs")
    how = {"steps": 4_000, "eval_every": 500, "traces": False, "pace": 60}
    for arm, tops in TOPS.items():
        for (i, j), top in np.ndenumerate(np.array(tops)):
            varied = {"optimizer.lr": RATES[i], "model.init_std": STDS[j]}
            cell = {"id": f"{i}{j}{arm[-1]}", "split": "val", "varied": varied, "blocks": "grid"}
            for seed in range(6):
                if arm == "mnist/baseline" and (i, j) == (3, 2):
                    found.append(write_run(place, arm, seed, dies_at=700, **cell, **how))
                else:
                    run = write_run(place, arm, seed, top=float(top), **cell, **how)
                    found.append(at_the_end(run, top + 0.001 * seed))
    for arm, tops in {"mnist/baseline": (0.9, 0.96, 0.9), "mnist/bn": (0.97, 0.975, 0.97)}.items():
        for rate, top in zip((0.8, 1.0, 1.25), tops, strict=True):
            row = {"id": f"r{rate}{arm[-1]}", "varied": {"optimizer.lr": rate}, "blocks": "fine"}
            found += [write_run(place, arm, seed, top=top, **row, **how) for seed in range(20, 26)]
    for arm, top in (("mnist/baseline", 0.96), ("mnist/bn", 0.975)):
        for seed in range(10, 15):
            varied = {"optimizer.lr": 1.0, "model.init_std": 0.1}
            best = {"id": f"f{arm[-1]}", "varied": varied, "blocks": "final"}
            found.append(write_run(place, arm, seed, top=top, **best, **how))
    return found


def loaded(members: list[Member]) -> Runs:
    runs = load(members)
    runs.runs = results.with_steps_to(runs, grid_runs.TARGETS)
    return runs


@pytest.fixture
def runs(members: list[Member]) -> Runs:
    return loaded(members)


def verdicts(runs: Runs) -> set[str]:
    return {claim.verdict for claim in study.claims(runs)}


def test_the_maps_hold_the_test_set_and_the_choice_does_not(runs: Runs) -> None:
    found = grid_runs.cells(runs, BN)
    assert found is not None
    assert found.test.axes == (RATES, STDS)
    assert found.test.values.shape == (4, 3, 6)
    assert found.test.values[1, 2].tolist() == pytest.approx(
        [0.92, 0.921, 0.922, 0.923, 0.924, 0.925]
    )
    assert not np.allclose(found.test.values, found.held_out.values)
    assert found.best == (2, 1)
    lost = grid_runs.cells(runs, BASELINE)
    assert lost is not None
    assert lost.test.values[3, 2].tolist() == [runs.chance] * 6


def test_steps_are_infinite_where_the_target_is_never_reached(runs: Runs) -> None:
    found = grid_runs.cells(runs, BASELINE)
    assert found is not None
    assert np.isfinite(found.steps.values[2, 1]).all()
    assert np.isinf(found.steps.values[0, 0]).all()


def test_claims_hold_where_bn_is_wider_higher_and_better(runs: Runs) -> None:
    found = {claim.id: claim for claim in study.claims(runs)}
    assert {claim.verdict for claim in found.values()} == {"holds"}
    estimates = {id: claim.quantity.interval.estimate for id, claim in found.items()}
    # Of 12 cells 3 reach 90 % without BN (one at 90 % exactly) and 11 with.
    assert estimates["trains_to_90_difference"] == pytest.approx((11 - 3) / 12)
    # At std 0.1 rates 1 to 1 are good without BN (0.93 is not), 0.1 to 1 with (0.968; 0.96 is not).
    assert estimates["good_rates_ratio"] == pytest.approx(10)
    assert estimates["good_scales_ratio"] == pytest.approx(100)
    assert estimates["highest_rate_ratio"] == pytest.approx(10)
    assert estimates["fine_good_rates_ratio"] == pytest.approx(1.25 / 0.8)


def test_the_same_grid_twice_decides_nothing(runs: Runs) -> None:
    """BN's own runs under the baseline's name: no claim may hold."""
    own = BN.of(runs)
    rows, curves = (
        pd.concat([frame, frame.assign(experiment="mnist/baseline")], ignore_index=True)
        for frame in (own.runs, own.curves)
    )
    assert verdicts(Runs("twins", own.members, rows, curves, own.traces)) == {"undecided"}


def test_the_other_way_round_no_claim_holds(runs: Runs) -> None:
    swap = {"mnist/bn": "mnist/baseline", "mnist/baseline": "mnist/bn"}
    for frame in (runs.runs, runs.curves):
        frame["experiment"] = frame["experiment"].replace(swap)
    assert verdicts(runs) == {"does not hold"}


def test_the_highest_rate_is_unknown_where_the_usual_scale_was_not_tried(runs: Runs) -> None:
    found = {c.id: c for c in study.claims(runs.where(init_std=[0.01, 1.0]))}["highest_rate_ratio"]
    assert math.isnan(found.quantity.interval.estimate)
    assert found.verdict == "undecided"


@pytest.mark.usefixtures("drawn_once")
def test_it_is_written_and_drawn(members: list[Member], tmp_path) -> None:
    written = report.write("learning_rate_and_init", members, tmp_path)
    assert list(written.figures) == ["figure_grid", "figure_best"]
    text = (tmp_path / "README.md").read_text()
    assert "best cell is rate 1 at std 0.1" in text
    assert "92 % of the grid's runs reach 90 % with BN, 25 % without" in written.prose["outcome"]
    again = report.write("learning_rate_and_init", members, tmp_path)
    assert (tmp_path / "README.md").read_text() == text
    assert len(again.claims) == len(written.claims)


@pytest.mark.usefixtures("drawn_once")
def test_half_a_grid_decides_nothing(members: list[Member], tmp_path) -> None:
    half = [
        member if k % 5 else replace(member, directory=None)
        for k, member in enumerate(members)
        if member.blocks == "grid"
    ]
    written = report.write("learning_rate_and_init", half, tmp_path)
    assert {claim.verdict for claim in written.claims} == {"undecided"}


def test_one_arm_alone_is_drawn(runs: Runs) -> None:
    for figure in maps.figures(BN.of(runs)).values():
        figure.draw_without_rendering()
    assert verdicts(BN.of(runs)) == {"undecided"}
