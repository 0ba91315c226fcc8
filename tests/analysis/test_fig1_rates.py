"""The fair comparison: rates chosen on held-out images, judged on the test set."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from analysis.reports import same_from_files

from bn_repro.analysis import grids, report
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import fig1_rates
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS
from bn_repro.analysis.tables import Member, Runs

RATES = (0.01, 0.1, 1.0, 10.0)
TOPS = {"mnist/baseline": (0.90, 0.95, 0.975, 0.10), "mnist/bn": (0.93, 0.972, 0.978, 0.971)}
HOW = {"steps": 8_000, "pace": 300, "traces": False}


@pytest.fixture
def members(make_run) -> list[Member]:
    """4 rates x 6 seeds on held-out images; at rate 1, 5 fresh seeds, and 6 of the first steps."""
    found = []
    for arm, tops in TOPS.items():
        for number, (rate, top) in enumerate(zip(RATES, tops, strict=True)):
            lost = arm == "mnist/baseline" and rate == 10
            how = {"id": f"{number}{arm[-1]}", "split": "val", "top": top, "blocks": "grid"}
            how |= {"varied": {"optimizer.lr": rate, "data.held_out": 10_000}} | HOW
            how |= {"state": "diverged" if lost else "completed"}
            found += [make_run(arm, seed, **how) for seed in range(6)]
    for arm, top in (("mnist/baseline", 0.97), ("mnist/bn", 0.98)):
        how = {"id": f"f{arm[-1]}", "top": top, "blocks": "final"} | HOW
        found += [make_run(arm, s, varied={"optimizer.lr": 1.0}, **how) for s in range(10, 15)]
        how |= {"id": f"e{arm[-1]}", "blocks": "early", "steps": 4_000, "eval_every": 100}
        varied = {"optimizer.lr": 1.0, "train.steps": 4_000, "train.eval_every": 100}
        found += [make_run(arm, s, varied=varied, **how) for s in range(100, 106)]
    return found


@pytest.fixture
def runs(members: list[Member]) -> Runs:
    return load(members)


def _findings(runs: Runs) -> str:
    claims = list(fig1_rates.claims(runs))
    return Prose("fig1_rates", fig1_rates.STUDY, runs, claims)["findings"]


def test_the_grid_is_read_from_held_out_images(runs: Runs) -> None:
    found = fig1_rates.grid(runs, BASELINE)
    assert found is not None
    assert found.axes == (RATES,)
    assert found.seeds == tuple(range(6))
    assert found.values.shape == (4, 6)
    assert found.values[3].tolist() == [0.1] * 6  # diverged: chance
    assert RATES[found.best[0]] == 1.0
    assert grids.good(found) == (1.0, 1.0)
    bn = fig1_rates.grid(runs, BN)
    assert bn is not None
    assert grids.good(bn) == (0.1, 10.0)


def test_claims(runs: Runs) -> None:
    end, ahead, each_rate, fewer, wider = fig1_rates.claims(runs)
    assert (end.verdict, end.n) == ("holds", 5)
    assert end.quantity.interval.estimate == pytest.approx(0.01, abs=0.003)
    assert (ahead.id, ahead.n) == ("ahead_at_each_step_difference", 6)
    assert len(ahead.quantity.parts) == 40
    assert [part.estimate > 0 for part in each_rate.quantity.parts] == [True] * 4
    assert (each_rate.verdict, each_rate.n) == ("holds", 6)
    assert (fewer.verdict, fewer.n) == ("holds", 5)  # the seeds of the runs that set the target
    assert fewer.quantity.beside.startswith("to its best itself")
    assert wider.quantity.interval.estimate == pytest.approx(100)  # 0.1 to 10, against 1 alone
    assert (wider.verdict, wider.n) == ("holds", 6)


def test_arms_turned_round_turn_the_verdicts(members: list[Member]) -> None:
    runs = load(members)
    names = {"mnist/baseline": "mnist/bn", "mnist/bn": "mnist/baseline"}
    for frame in (runs.runs, runs.curves):
        frame["experiment"] = frame["experiment"].replace(names)
    end, ahead, each_rate, fewer, wider = fig1_rates.claims(runs)
    assert [c.verdict for c in (end, ahead, each_rate, wider)] == ["does not hold"] * 4
    assert str(fewer.quantity).endswith("to its best itself not reached by the median run of BN")


def test_evaluations_too_far_apart_cannot_time_a_race(members: list[Member]) -> None:
    runs = load(members)
    coarse = replace(runs, curves=runs.curves[runs.curves["step"] % 1_000 == 0])
    fewer = next(c for c in fig1_rates.claims(coarse) if c.id == "steps_to_baseline_best_ratio")
    assert fewer.verdict == "not testable"


def test_only_the_final_runs_meet_the_test_set(runs: Runs) -> None:
    without, with_bn = fig1_rates.finals(runs)
    assert without.index.tolist() == with_bn.index.tolist() == list(range(10, 15))
    assert fig1_rates.final_rate(runs, BN) == 1.0
    assert fig1_rates.target_of(without) == pytest.approx(float(without.median().max()), abs=1e-4)


def test_findings_say_what_remains(runs: Runs) -> None:
    words = _findings(runs)
    assert "BN still ends higher" in words
    assert "it may be wider" in words  # BN's range ends where the grid does
    assert "| 10 | 10.0 % | 97." in words
    assert "of the 40 evaluated steps up to 4,000" in words
    assert "not the best rate" not in words


def test_a_final_rate_that_is_not_the_best_is_named(members: list[Member], make_run) -> None:
    kept = [m for m in members if m.seed < 10 or m.experiment == "mnist/baseline"]
    how = {"id": "other", "varied": {"optimizer.lr": 0.1}, "blocks": "final"} | HOW
    kept += [make_run("mnist/bn", s, **how) for s in range(10, 15)]
    assert "with BN used rate 0.1, which is not the best rate" in _findings(load(kept))


@pytest.mark.usefixtures("drawn_once")
def test_the_report_before_the_final_runs(members: list[Member], tmp_path: Path) -> None:
    grid = [m for m in members if m.seed < 10]
    found = report.write("fig1_rates", grid, tmp_path / "out")
    expected = ["undecided"] * 2 + ["holds", "undecided", "holds"]
    assert [claim.verdict for claim in found.claims] == expected
    assert all(math.isnan(fig1_rates.final_rate(found.runs, arm)) for arm in MNIST_ARMS)
    assert (tmp_path / "out/figure1_rates.svg").exists()
    assert not (tmp_path / "out/traces.csv.gz").exists()


@pytest.mark.usefixtures("drawn_once")
def test_the_report_of_one_seed_and_one_arm(members: list[Member], tmp_path: Path) -> None:
    one = [m for m in members if m.seed in (0, 10, 100) and m.experiment == "mnist/bn"]
    found = report.write("fig1_rates", one, tmp_path / "out")
    assert {claim.verdict for claim in found.claims} == {"undecided"}


@pytest.mark.usefixtures("drawn_once")
def test_the_report_is_whole_and_repeats(members: list[Member], tmp_path: Path) -> None:
    out = tmp_path / "out"
    report.write("fig1_rates", members, out)
    same_from_files("fig1_rates", members, out)
    header = (out / "runs.csv").read_text().splitlines()[0]
    assert header.endswith(",blocks,optimizer.lr,data.held_out,train.steps,train.eval_every")
