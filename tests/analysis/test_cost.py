"""What BN costs, judged from made-up rows of the probe."""

from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import cost as study
from bn_repro.analysis.studies.cost_runs import MNIST
from bn_repro.analysis.tables import Member
from bn_repro.config.compose import compose
from bn_repro.records import paths
from bn_repro.sweep.planned import accuracy_of
from bn_repro.sweep.study import expand
from bn_repro.training import cost_probe
from bn_repro.training.run import run

BLOCKS = {"mnist": "MNIST", "imagenet": "Inception"}
FASTER = {  # how many steps a network is on its way
    "mnist/baseline": 200,
    "mnist/bn": 100,
    "imagenet/inception": 200,
    "imagenet/bn_baseline": 150,
    "imagenet/bn_x5": 80,
}
SLOWER = {"mnist/bn": 1.4, "imagenet/bn_baseline": 1.2, "imagenet/bn_x5": 1.1}
"""How many times longer a step takes."""


@pytest.fixture
def members(make_run):
    """Six seeds of each network; ``slower`` and ``folded``: times those without BN."""

    def made(slower=None, folded=1.02, inference=1.3, seeds=6):
        slower, found = SLOWER | (slower or {}), []
        for experiment, pace in FASTER.items():
            for seed in range(400, 400 + seeds):
                how = {"steps": 2_000, "eval_every": 20, "traces": False, "pace": pace}
                how |= {"top": 0.95, "blocks": BLOCKS[experiment.split("/")[0]], "varied": {}}
                found.append(make_run(experiment, seed, id=experiment[-8:], **how))
                times = slower.get(experiment), folded, inference
                rows = [probed(seed, step, *times) for step in (1, 2_000)]
                (found[-1].directory / paths.PROBES).write_text(as_lines(rows))
        return found

    def probed(seed, step, longer, folded, inference):
        """A machine that differs between runs by 3 %, within one not at all."""
        slow = 0.001 * (1 + 0.01 * ((seed + (longer is not None)) % 4))
        row = {"step": step, "probe": "cost", "parameter_bytes": 4e5, "buffer_bytes": 0}
        row |= {"training_seconds": slow * (longer or 1), "inference_seconds": slow / 4}
        row |= {"kept_bytes": 74_404 if longer is None else 148_804}
        if longer is not None:
            row |= {"inference_seconds": slow * inference / 4, "training_folded_seconds": slow}
            row |= {"inference_folded_seconds": slow * folded / 4}
        return row

    return made


def verdicts(members):
    return {claim.id: claim for claim in study.claims(load(members))}


def test_verdicts(members):
    runs = load(members())
    found = {claim.id: claim for claim in study.claims(runs)}
    assert {name: c.verdict for name, c in found.items() if c.verdict != "holds"} == {}
    assert len(found) == 9
    estimates = {name: claim.quantity.interval.estimate for name, claim in found.items()}
    assert estimates["mnist_step_ratio"] == pytest.approx(1.4)
    assert estimates["inception_folding_ratio"] == pytest.approx(1.3 / 1.02)
    assert estimates["inception_folded_ratio"] == pytest.approx(1.02, rel=0.02)
    sooner = found["mnist_bn_fewer_seconds_ratio"].quantity
    steps = MNIST.race(runs, MNIST.bn, seconds=False).fewer()
    assert sooner.interval.estimate == pytest.approx(steps.estimate / 1.4, rel=0.03)


def test_fewer_steps_that_each_take_longer_are_no_less_time(members):
    slower = {"mnist/bn": 3.0, "imagenet/bn_x5": 0.8, "imagenet/bn_baseline": 2.0}
    found = verdicts(members(slower, folded=1.2, inference=1.1))
    refuted = {name for name, claim in found.items() if claim.verdict == "does not hold"}
    assert refuted == {
        "mnist_bn_fewer_seconds_ratio",
        "inception_bn_baseline_fewer_seconds_ratio",
        *(f"{name}_{kind}_ratio" for name in ("mnist", "inception") for kind in ("folded",)),
        *(f"{name}_folding_ratio" for name in ("mnist", "inception")),
    }
    assert found["inception_bn_x5_fewer_seconds_ratio"].verdict == "holds"


def test_few_seeds_and_a_part_of_the_runs_are_undecided(members):
    made = members(seeds=2)
    assert {claim.verdict for claim in verdicts(made).values()} == {"undecided"}
    without = [m for m in made if m.experiment in ("mnist/bn", "imagenet/inception")]
    assert {claim.verdict for claim in verdicts(without).values()} == {"undecided"}


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    found = report.write("cost", made, out)
    assert found.warnings == []
    assert "MNIST: a training step takes 1.40 times as long as without BN" in found.prose["outcome"]
    text = (out / "README.md").read_text()
    assert "| with BN | 1.42 | 1.40 | 0.330 | 1.30 | 0.259 | 1.02 | 148.8 | 2.00 |" in text
    assert {"probes.csv.gz", "figure_cost.svg"} <= same_from_files("cost", made, out)


@pytest.mark.usefixtures("drawn_once")
def test_the_study_at_smoke_scale(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cost_probe, "SECONDS", 0.0)
    words = ["scale=smoke", "train.steps=2", "train.population_batches=2", "study.seeds=1"]
    words += [f"runs={tmp_path / 'runs'}"]
    planned, _ = expand(compose(["study=cost", *words]).study, words, accuracy_of)
    assert {run(p.config, log=lambda line: None).state for p in planned} == {"completed"}
    made = [Member(*p.key, p.varied, p.directory, "+".join(p.blocks)) for p in planned]
    found = report.write("cost", made, tmp_path / "out")
    assert found.warnings == []
    assert {claim.verdict for claim in found.claims} == {"undecided"}
    assert "BN-Baseline" in found.prose["findings"]
    part = [member for member in made if member.experiment == "mnist/bn"]
    assert report.write("cost", part, tmp_path / "part").prose["outcome"] == ""
