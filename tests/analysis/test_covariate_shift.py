"""Jolts, turns and smoothness, judged from made-up runs."""

from math import cos, radians
from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import covariate_shift as study
from bn_repro.analysis.studies import covariate_shift_runs as its
from bn_repro.records import paths

STEPS = (1, 500, 1_000)
SEEDS = range(5)


def probed(step, angle, change):
    row = {"step": step, "probe": "shift", "unit": None}
    for site, times in (("hidden2", 0.5), ("classifier", 1.5)):
        yield row | {"site": site, "cosine": cos(radians(times * angle)), "distance": 0.1}
    for size in (0.0, 1.0, 4.0):
        yield row | {"site": "all", "size": size, "loss": 1 - size, "distance": size * change}


def traced(step, seed, jolt):
    middle = jolt * (-1) ** STEPS.index(step) * (1 + seed / 10)
    row = {"step": step, "site": "hidden3", "unit": 0, "mean": 0.0, "std": 1.0, "saturated": 0.0}
    return row | {"p15": middle - 1, "p50": middle, "p85": middle + 1, "grad_norm": 0.1}


@pytest.fixture
def members(make_run):
    """Five seeds of each arm: jolts cost something, and gradients turn less with BN."""

    def made(jolt=0.5, jolted_top=0.96):
        found = []
        for setting in its.SETTINGS:
            for k, arm in enumerate(setting.arms):
                varied = {} if setting.rate is None else {its.RATE: setting.rate}
                varied |= {its.NORM: arm.keys[its.NORM]} if arm.keys.get(its.NORM) else {}
                how = {"steps": 1_000, "eval_every": 250, "pace": 50, "traces": False}
                how |= {"varied": varied, "id": f"{its.SETTINGS.index(setting)}{k}"}
                how |= {"top": (0.93, 0.98, jolted_top, jolted_top - 0.01)[k]}
                for seed in SEEDS:
                    one = make_run(arm.keys["experiment"], seed, **how)
                    turn, change = (4.0, 0.4) if k == 0 else (2.0 + 0.01 * seed, 0.1)
                    rows = [row for s in STEPS for row in probed(s, turn, change)]
                    traces = [traced(s, seed, jolt if k > 1 else 0.1) for s in STEPS]
                    for file, lines in ((paths.PROBES, rows), (paths.TRACES, traces)):
                        (one.directory / file).write_text(as_lines(lines))
                    found.append(one)
        return found

    return made


def test_numbers_by_seed_and_step(members):
    runs = load(members())
    setting = its.SETTINGS[1]  # with all four arms
    without, bn, jolted, harder = setting.arms
    assert its.turns(runs, setting, without).loc[0].tolist() == pytest.approx([4, 4, 4], rel=1e-4)
    assert its.along(runs, setting, bn, "loss", 4.0).loc[3].tolist() == [-3, -3, -3]
    swings = its.swings(runs, setting, jolted)
    assert swings.tolist() == pytest.approx([0.5 * (1 + s / 10) for s in SEEDS])
    assert len(its.accuracy(runs, setting, harder)) == 5


def test_verdicts(members):
    runs = load(members())
    claims = {claim.id: claim for claim in study.claims(runs)}
    assert len(claims) == 14
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    ratio = claims["mnist_1_turn_ratio"].quantity.interval.estimate
    assert ratio == pytest.approx(2.02 / 4, rel=1e-3)
    assert claims["inception_smooth_ratio"].quantity.interval.estimate == pytest.approx(0.25)
    outcome = Prose("covariate_shift", study.STUDY, runs, list(claims.values()))["outcome"]
    assert outcome.count("2.02") == 3  # degrees, in each setting


def test_jolts_that_are_too_much_or_move_nothing(members):
    found = {c.id: c.verdict for c in study.claims(load(members(jolted_top=0.9)))}
    assert found["mnist_0.1_jolted_ahead_difference"] == "does not hold"
    assert found["mnist_1_jolted_harder_costs_difference"] == "holds"


def test_without_a_movement_jolts_are_not_testable(members):
    claims = {c.id: c for c in study.claims(load(members(jolt=0.1)))}
    assert claims["inception_jolted_ahead_difference"].verdict == "not testable"
    assert claims["inception_turn_ratio"].verdict == "holds"


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    report.write("covariate_shift", made, out)
    text = (out / "README.md").read_text()
    assert "| MNIST, rate 1 | with BN, jolted harder |" in text
    assert "| 0.997 | 4 | 0.4 | 1.6 | 100 % |" in text
    same_from_files("covariate_shift", made, out)
