"""The size of the mini-batch, judged from made-up runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from analysis.reports import same_from_files, trained
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import batch_size as study
from bn_repro.analysis.studies import batch_size_runs as runs_of
from bn_repro.config.compose import compose
from bn_repro.records import paths

SIZES = (2, 8, *runs_of.SAFE)
BY_POPULATION = 0.05
"""What Algorithm 2's statistics add at mini-batches of 2 in the made-up runs."""


@pytest.fixture
def members(make_run):
    """Five seeds a size of both networks: BN is behind at 2, level at 8, ahead from 32 on."""

    def made(leads=None, sizes=SIZES, state="completed"):
        found = []
        leads = {2: -0.3, 8: -0.01} | (leads or {})
        for network in runs_of.NETWORKS:
            for experiment in (network.without, network.bn):
                for size in sizes:
                    bn = experiment == network.bn
                    how = {"steps": 1_000, "eval_every": 500, "pace": 1, "traces": False}
                    how |= {
                        "id": f"s{size}",
                        "top": 0.9 + bn * leads.get(size, 0.03),
                        "varied": {runs_of.SIZE: size, runs_of.RATE: 0.3 if bn else 0.1},
                        "blocks": f"{network.name} final",
                    }
                    if bn and size == runs_of.SMALLEST:
                        how["state"] = state
                    found += [make_run(experiment, seed, **how) for seed in range(5)]
                    if bn and size == runs_of.SMALLEST and state == "completed":
                        for one in found[-5:]:
                            _lift(one.directory / paths.METRICS)
        return found

    return made


def _lift(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["top1"] += BY_POPULATION * (row["statistics"] == "population")
    path.write_text(as_lines(rows))


def verdicts(found) -> dict[str, str]:
    return {claim.id: claim.verdict for claim in study.claims(load(found))}


def test_verdicts(members):
    claims = {claim.id: claim for claim in study.claims(load(members()))}
    assert len(claims) == 6
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    for name in ("mnist", "inception"):
        assert len(claims[f"{name}_safe_sizes_difference"].quantity.parts) == len(runs_of.SAFE)
        behind = claims[f"{name}_smallest_difference"].quantity.interval
        assert behind.estimate == pytest.approx(-0.3, abs=0.01)
        mended = claims[f"{name}_smallest_population_difference"].quantity.interval
        assert mended.estimate == pytest.approx(BY_POPULATION, abs=0.002)


def test_one_size_at_which_bn_is_behind_is_enough_against_the_claim(members):
    found = verdicts(members({128: -0.05, 2: 0.02}))
    assert found["mnist_safe_sizes_difference"] == "does not hold"
    assert found["mnist_smallest_difference"] == "does not hold"
    assert found["mnist_smallest_population_difference"] == "holds"


def test_without_one_of_the_sizes_nothing_is_said_of_all(members):
    found = verdicts(members(sizes=[size for size in SIZES if size != 64]))
    assert found["inception_safe_sizes_difference"] == "undecided"
    assert found["inception_smallest_difference"] == "holds"


def test_a_diverged_run_counts_as_chance_by_both_statistics(members):
    claims = {claim.id: claim for claim in study.claims(load(members(state="diverged")))}
    behind = claims["mnist_smallest_difference"].quantity.interval
    assert behind.estimate == pytest.approx(0.1 - 0.9, abs=0.01)
    assert claims["mnist_smallest_population_difference"].quantity.interval.estimate == 0


def test_bn_is_ahead_from_the_size_after_the_last_at_which_it_is_behind(members):
    runs, (mnist, _) = load(members({32: -0.02, 64: 0.01})), runs_of.NETWORKS
    lead = runs_of.leads(mnist, runs)
    assert list(lead.columns) == list(SIZES)
    assert runs_of.ahead_from(lead) == 64
    assert runs_of.ahead_from(-lead) is None


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, make_run, tmp_path: Path):
    out, made = tmp_path / "out", members()
    how = {"id": "tried", "traces": False, "split": "val", "blocks": "MNIST rates"}
    for k, rate in enumerate((0.1, 0.3, 1.0)):
        varied = {runs_of.SIZE: 2, runs_of.RATE: rate}
        made.append(make_run("mnist/bn", k, **how, varied=varied))
    outcome = report.write("batch_size", made, out).prose["outcome"]
    text = (out / "README.md").read_text()
    assert "From mini-batches of 32 on BN's mean is higher" in text
    assert "| 2 | 0.1 (lowest tried) | 90.0 % " in text
    assert "MNIST with mini-batches of 2: 60.0 % test accuracy with BN, 90.0" in outcome
    same_from_files("batch_size", made, out)


@pytest.mark.usefixtures("drawn_once")
def test_the_study_at_smoke_scale(tmp_path: Path):
    """Mini-batches of 2, one rate: each block is trained, and both statistics are evaluated."""
    words = ["scale=smoke", "train.steps=2", "train.engine=eager", f"runs={tmp_path / 'runs'}"]
    small = compose(["study=batch_size", *words]).study
    few = {runs_of.SIZE: [2], runs_of.RATE: [0.1], "train.population_batches": [2]}
    blocks = [
        block | {key: few[key] for key in few if isinstance(block.get(key), list)}
        for block in small.blocks
    ]
    made = trained(replace(small, blocks=blocks), words)
    found = report.write("batch_size", made, tmp_path / "out")
    assert found.warnings == []
    assert {claim.verdict for claim in found.claims} == {"undecided"}
    measured = {claim.id: claim.n for claim in found.claims}
    assert measured["inception_smallest_population_difference"] == 1
    assert measured["mnist_safe_sizes_difference"] == 0
