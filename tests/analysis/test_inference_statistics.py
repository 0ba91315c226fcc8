"""What BN normalizes by in inference, judged from made-up rows of the probe."""

from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import inference_statistics as study
from bn_repro.analysis.studies.inference_statistics_runs import MOMENTUM, RATES, USUAL
from bn_repro.records import paths

SEEDS, STEPS = 6, 10_000
COUNTS = {1: -0.02, 10: -0.004, 100: -0.0002, 1_000: 0.0}
"""What exact statistics over fewer mini-batches lose."""


def probed(step, seed, top, loses, most):
    """The rows of one step; ``loses`` is by kind of statistics, against the most exact."""
    top += 0.001 * seed
    noise = 0.0001 * (seed % 3)
    for size in (32 if most == 100 else 60, 1_000):
        yield {"statistics": "batch", "examples": size, "top1": top + loses["own"] + noise}
    yield {"statistics": "moving", "top1": top + loses["moving"] + noise}
    for n, lost in COUNTS.items():
        if n <= most:
            lost = loses["hundred"] if n == 100 != most else lost * (n != most)
            yield {"statistics": "population", "mini_batches": n, "top1": top + lost}


@pytest.fixture
def members(make_run):
    """Six seeds of each block; ``loses``: what is lost by which statistics."""

    def made(own=-0.03, moving=-0.0004, hundred=-0.0002, early=-0.1, seeds=SEEDS):
        loses, found = {"own": own, "moving": moving, "hundred": hundred}, []
        how = {"steps": STEPS, "eval_every": 100, "traces": False}
        for seed in range(seeds):
            for rate in RATES:
                block = "MNIST statistics" if rate == USUAL else "MNIST rates"
                top = 0.96 if rate == USUAL else 0.9
                varied = {MOMENTUM: rate}
                how |= {"top": top, "varied": varied, "blocks": block, "pace": 1_000}
                found.append(make_run("mnist/bn", seed, id=f"r{rate:g}", **how))
                if rate == USUAL:
                    early_top = 0.8 - early
                    write(found[-1], [(100, early_top, loses), (STEPS, 0.96, loses)], 1_000)
            how |= {"top": 0.98, "varied": {}, "blocks": "Inception"}
            found.append(make_run("imagenet/bn_baseline", seed, **how))
            write(found[-1], [(STEPS, 0.98, loses)], 100)
        return found

    def write(member, at, most):
        rows = [
            {"step": step, "probe": "statistics", "loss": 0.1, **row}
            for step, top, loses in at
            for row in probed(step, member.seed, top, loses, most)
        ]
        (member.directory / paths.PROBES).write_text(as_lines(rows))

    return made


def verdicts(members):
    return {claim.id: claim for claim in study.claims(load(members))}


def test_verdicts(members):
    found = verdicts(members())
    assert {claim.verdict for claim in found.values()} == {"holds"}
    assert len(found) == 10
    lost = {name: claim.quantity.interval.estimate for name, claim in found.items()}
    assert lost["mnist_one_difference"] == pytest.approx(-0.02)
    assert lost["mnist_moving_serve_difference"] == pytest.approx(-0.0003)
    assert lost["inception_own_difference"] == pytest.approx(-0.0299)
    assert found["mnist_early_slow_difference"].n == SEEDS


def test_what_loses_more_than_the_margin_does_not_hold(members):
    found = verdicts(members(own=0.001, moving=-0.003, hundred=-0.0015, early=0.7))
    refuted = {name for name, claim in found.items() if claim.verdict == "does not hold"}
    assert refuted == {
        *(f"{network}_moving_serve_difference" for network in ("mnist", "inception")),
        *(f"{network}_own_difference" for network in ("mnist", "inception")),
        "mnist_hundred_serve_difference",
        "mnist_early_slow_difference",
        "mnist_early_usual_difference",
    }


def test_nothing_measured_and_few_seeds_are_undecided(members):
    without = [m for m in members() if m.varied.get(MOMENTUM) == 0.01]
    assert {claim.verdict for claim in verdicts(without).values()} == {"undecided"}


def test_training_is_compared_loss_by_loss(members):
    made = members()
    assert not study.values(load(made))["same"]  # the made-up runs have losses of their own
    one = {m.seed: m for m in made if m.varied.get(MOMENTUM) == USUAL}
    for member in made:
        if MOMENTUM in member.varied:
            text = (one[member.seed].directory / paths.METRICS).read_text()
            (member.directory / paths.METRICS).write_text(text)
    assert study.values(load(made))["same"]


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    found = report.write("inference_statistics", made, out)
    assert found.warnings == []
    text = (out / "README.md").read_text()
    assert "| Algorithm 2, 1 mini-batch | 94.2 % [94.1, 94.4] | -2.00 points " in text
    assert "MNIST, at the end: 93.26 % right by the mini-batch's own" in found.prose["outcome"]
    files = same_from_files("inference_statistics", made, out)
    assert {"probes.csv.gz", "figure_inference.svg"} <= files
