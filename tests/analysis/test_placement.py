"""Section 3.2's places and parts, judged from made-up runs."""

import re

import pytest

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import placement as study
from bn_repro.analysis.studies import placement_runs as places

LOST = {
    places.AFTER.label: 0.01,
    places.INPUT.label: 0.02,
    places.BARE.label: 0.03,
    places.PER_ACTIVATION.label: 0.001,
}


@pytest.fixture
def members(make_run):
    """Six seeds of each variant in each setting, five of Inception; BN before is the best."""

    def made(lost=None, rates=places.RATES):
        found, lost = [], LOST | (lost or {})
        for rate in (*rates, None):
            arms = places.INCEPTION if rate is None else places.MNIST
            for k, arm in enumerate(arms):
                varied = {key: v for key, v in arm.keys.items() if key != "experiment"}
                usual = "imagenet/bn_baseline" if rate is None else "mnist/bn"
                varied |= {} if rate is None else {places.RATE: rate}
                how = {"steps": 200, "eval_every": 100, "traces": False, "pace": 1}
                how |= {"top": 0.97 - lost.get(arm.label, 0.0), "varied": varied}
                for seed in range(300, 305 if rate is None else 306):
                    experiment = arm.keys.get("experiment", usual)
                    id = f"{k}{int(10 * (rate or 0)):07d}"
                    found.append(make_run(experiment, seed, id=id, **how))
        return found

    return made


def test_verdicts(members):
    claims = {claim.id: claim for claim in study.claims(load(members()))}
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    found = claims["mnist_before_over_after_difference"].quantity
    assert found.interval.estimate == pytest.approx(0.01, abs=2e-3)
    assert found.beside.count("at rate") == 2


def test_a_place_that_is_behind_and_a_bias_that_matters_do_not_hold(members):
    lost = dict.fromkeys((places.AFTER.label, places.WITH_BIAS.label), -0.01)
    lost |= {places.PER_ACTIVATION.label: -0.02}
    found = {claim.id: claim.verdict for claim in study.claims(load(members(lost)))}
    assert found["mnist_before_over_after_difference"] == "does not hold"
    assert found["inception_before_over_after_difference"] == "does not hold"
    assert found["mnist_bias_difference"] == "does not hold"  # better is not the same either
    assert found["inception_per_map_difference"] == "does not hold"
    assert found["mnist_gamma_and_beta_difference"] == "holds"


def test_a_rate_alone_is_undecided(members):
    found = {c.id: c for c in study.claims(load(members(rates=(0.1,))))}
    assert found["mnist_bias_difference"].verdict == "undecided"
    assert str(found["mnist_bias_difference"].quantity) == "not measured"
    assert found["inception_gamma_and_beta_difference"].verdict == "holds"


@pytest.mark.usefixtures("drawn_once")
def test_half_a_study_has_no_outcome_yet(members, tmp_path):
    half = members(rates=(0.1,))
    assert report.write("placement", half, tmp_path).prose["outcome"] == ""


@pytest.mark.usefixtures("drawn_once")
def test_the_report_says_what_was_found(members, tmp_path):
    outcome = report.write("placement", members(), tmp_path).prose["outcome"]
    assert outcome.startswith("To the MNIST network at rate 0.1 BN adds -0.0")
    text = (tmp_path / "README.md").read_text()
    assert re.search(r"\| before, per activation \| - \| - \| 96\.\d %", text)
    assert "| none | 97.0" in text
    assert "is behind the one after it" not in text
    assert (tmp_path / "figure_placement.png").exists()
