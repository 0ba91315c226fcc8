"""Section 3.4's regularization, judged from made-up runs."""

import pytest
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import regularization as study
from bn_repro.analysis.studies import regularization_runs
from bn_repro.records import paths

STEPS = 200


@pytest.fixture
def members(make_run):
    """Five seeds of each setting; with BN companions that change raise what is tested."""

    def made(gain=0.01):
        found = []
        for block, arms in study.PAIRS.items():
            for k, (arm, shuffling) in enumerate((a, s) for a in arms for s in study.MINI_BATCHES):
                for dropout in study.DROPOUTS if block == "Inception" else (None,):
                    bn, free = arm is arms[1], shuffling == "full"
                    test = 0.95 + 0.005 * bn + gain * (bn and free)
                    varied = {regularization_runs.SHUFFLING: shuffling}
                    varied |= {} if dropout is None else {regularization_runs.DROPOUT: dropout}
                    how = {"steps": STEPS, "eval_every": 100, "traces": False, "top": test}
                    how |= {"pace": 1, "varied": varied, "blocks": block}
                    id = f"{block[0]}{k}{int(10 * (dropout or 0))}{gain > 0:d}"
                    for seed in range(5):
                        one = make_run(arm.keys["experiment"], seed, id=id, **how)
                        end = {"step": STEPS, "loss": 0.1, "statistics": "moving"}
                        rows = [end | {"split": "train", "top1": 0.999 - 1e-4 * seed}]
                        metrics = one.directory / paths.METRICS
                        text = as_lines(rows)
                        metrics.write_text(metrics.read_text() + text)
                        found.append(one)
        return found

    return made


def test_verdicts(members):
    claims = {claim.id: claim for claim in study.claims(load(members()))}
    for block in ("inception", "mnist"):
        for name in ("bn_gap", "companions_gap", "companions", "companions_by_bn"):
            assert claims[f"{block}_{name}_difference"].verdict == "holds", name
    assert claims["no_dropout_with_bn_difference"].verdict == "holds"
    assert claims["dropout_without_bn_difference"].verdict == "undecided"
    gain = claims["mnist_companions_difference"].quantity.interval.estimate
    assert gain == pytest.approx(0.01, abs=2e-3)
    other = {claim.id: claim for claim in study.claims(load(members(gain=-0.01)))}
    assert other["mnist_companions_difference"].verdict == "does not hold"


def test_a_diverged_run_has_no_gap(members, make_run):
    """At chance on both splits it would have none to speak of, and BN would narrow it."""
    bn, key = regularization_runs.PAIRS["MNIST"][1], regularization_runs.SHUFFLING
    some = [m for m in members() if m.experiment == bn.keys["experiment"]]
    how = {"id": some[0].id, "varied": some[0].varied, "blocks": "MNIST", "dies_at": 1}
    runs = load([*some, make_run(some[0].experiment, 9, **how)])
    found = regularization_runs.setting(runs, "MNIST", bn, some[0].varied[key])
    assert found.gap.index.tolist() == [0, 1, 2, 3, 4]
    assert 9 in found.top1("test").index


@pytest.mark.usefixtures("drawn_once")
def test_the_report_says_what_was_found(members, tmp_path):
    report.write("regularization", members(), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| Inception | BN-Baseline | fixed | 0.4 | 99.88 % " in text
    assert (tmp_path / "figure_gap.png").exists()
