"""New distributions by old and new statistics, judged from made-up rows of the probe."""

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import domain_adaptation as study
from bn_repro.analysis.studies import domain_adaptation_photographs as on_photographs
from bn_repro.analysis.studies import domain_adaptation_runs as its
from bn_repro.records import paths
from bn_repro.training import adaptation_probe

STEPS, SEEDS = 1_000, range(600, 606)
LOST = {"noisy": 0.1, "contrast": 0.3, "shifted": 0.05, "inverted": 0.6}
"""By the old statistics; by the new ones half of it, but for the contrast, of which nothing."""
WITHOUT = 1.5
"""How many times as much the network without BN loses."""


def probed(seed, kind, lost, kept):
    """The rows of one run."""
    top, wobble = 0.95 + 0.001 * (seed % 4), 0.001 * (seed % 3)
    kinds = {its.NONE: WITHOUT} if kind == its.NONE else {its.OLD: 1.0, its.NEW: None}
    for statistics, times in kinds.items():
        for name, strengths in adaptation_probe.STRENGTHS.items():
            if (statistics, name) == (its.NEW, "unaltered"):
                continue
            for strength in strengths:
                share = times or kept.get(name, 0.5)
                here = top - share * (lost[name] + wobble) if name in lost else top
                row = {"statistics": statistics, "distribution": name, "strength": strength}
                yield row | {"top1": here, "loss": 1.0}


@pytest.fixture
def members(make_run):
    """Six seeds of each network; ``kept``: the share of a loss that new statistics leave."""

    def made(lost=None, kept=None, networks=its.NETWORKS):
        found, lost, kept = [], LOST | (lost or {}), {"contrast": 0.0} | (kept or {})
        for network in networks:
            for arm, kind in ((network.bn, its.OLD), (network.without, its.NONE)):
                for seed in SEEDS:
                    how = {"steps": STEPS, "eval_every": 500, "traces": False}
                    one = make_run(arm.keys["experiment"], seed, **how)
                    common = {"step": STEPS, "probe": "adaptation"}
                    rows = [common | row for row in probed(seed, kind, lost, kept)]
                    (one.directory / paths.PROBES).write_text(as_lines(rows))
                    found.append(one)
        return found

    return made


def verdicts(members):
    return {claim.id: claim for claim in study.claims(load(members))}


def test_verdicts(members):
    found = verdicts(members())
    assert len(found) == 9
    assert {claim.verdict for claim in found.values()} == {"holds"}
    numbers = {name: claim.quantity.interval.estimate for name, claim in found.items()}
    assert numbers["mnist_noisy_difference"] == pytest.approx(0.0505)
    assert numbers["inception_contrast_difference"] == pytest.approx(0)
    assert numbers["mnist_robust_difference"] == pytest.approx(-(WITHOUT - 1) * 0.2635)
    assert found["shifted_difference"].quantity.beside.count("+2.55") == 2


def test_new_statistics_that_harm_and_a_contrast_that_stays_lost_do_not_hold(members):
    kept = {"noisy": 1.2, "inverted": 1.1, "shifted": 1.3, "contrast": 0.05}
    found = verdicts(members(kept=kept))
    held = {name for name, claim in found.items() if claim.verdict != "does not hold"}
    assert held == {"mnist_robust_difference", "inception_robust_difference"}


def test_where_nothing_is_lost_nothing_can_be_won(members):
    found = verdicts(members(lost={"shifted": -0.01}))
    assert found["shifted_difference"].verdict == "not testable"
    assert found["mnist_noisy_difference"].verdict == "holds"


def test_one_network_alone_is_half_a_study(members):
    runs = load(members(networks=its.NETWORKS[:1]))
    found = {claim.id: claim.verdict for claim in study.claims(runs)}
    assert found["mnist_inverted_difference"] == "holds"
    assert found["inception_inverted_difference"] == found["shifted_difference"] == "undecided"
    assert [network["name"] for network in study.values(runs)["networks"]] == ["MNIST"]
    (figure,) = study.figures(runs).values()
    assert [bool(ax.lines) for ax in figure.axes] == [True] * 4 + [False] * 4


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path):
    made, out = members(), tmp_path / "out"
    found = report.write("domain_adaptation", made, out)
    assert found.warnings == []
    text = (out / "README.md").read_text()
    assert "| shifted by 1 pixel | 87.5 % " in text
    assert "statistics 85.0 % and 90.1 % with noise, 65.0 % and 95.1 % at" in found.prose["outcome"]
    same_from_files("domain_adaptation", made, out)


@pytest.mark.usefixtures("drawn_once")
def test_photographs_are_judged_as_digits_are(members, tmp_path):
    made, out = members(networks=[its.PHOTOGRAPHS]), tmp_path / "out"
    found = report.write("domain_adaptation_photographs", made, out)
    assert found.warnings == []
    assert {claim.id: claim.verdict for claim in found.claims} == {
        "photographs_noisy_difference": "holds",
        "photographs_contrast_difference": "holds",
        "photographs_inverted_difference": "holds",
        "photographs_shifted_difference": "holds",
        "photographs_robust_difference": "holds",
    }
    outcome = found.prose["outcome"]
    assert "old statistics give a validation accuracy of 85.0 %, new ones 90.1 %" in outcome
    assert "By old and by new statistics it is 65.0 % and 95.1 % at a quarter" in outcome
    (figure,) = on_photographs.figures(load(made)).values()
    assert [bool(ax.lines) for ax in figure.axes] == [True] * 4


def test_the_strengths_are_those_that_the_probe_measures():
    measured = {k: v for k, v in adaptation_probe.STRENGTHS.items() if k != its.UNALTERED[0]}
    assert measured == its.STRENGTHS
