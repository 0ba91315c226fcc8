"""BN alone in longer runs: the same rules as Figure 3's, told where runs are missing too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bn_repro import paper
from bn_repro.analysis import networks, report, tables
from bn_repro.analysis.networks import BN_BASELINE, INCEPTION
from bn_repro.analysis.studies import fig3, fig3_longer
from bn_repro.analysis.tables import Member
from bn_repro.config.compose import compose
from bn_repro.sweep.study import expand

MADE_UP = {INCEPTION: (0.24, 9_000), BN_BASELINE: (0.29, 4_000)}


@pytest.fixture
def members(make_run) -> list[Member]:
    how = {"steps": 30_000, "eval_every": 500, "split": "val", "chance": 0.01, "traces": False}
    return [
        make_run(network.experiment, 0, top=top, pace=pace, **how)
        for network, (top, pace) in MADE_UP.items()
    ]


def test_the_study_is_the_two_networks_as_they_are_but_longer() -> None:
    runs, _ = expand(compose(["study=fig3_longer"]).study, [], lambda run: None)
    assert [run.config.experiment for run in runs] == [n.experiment for n in MADE_UP]
    for run in runs:
        usual = compose([f"experiment={run.config.experiment}"])
        longer = {"steps": 3 * usual.train.steps, "eval_every": 2 * usual.train.eval_every}
        assert run.config.train == replace(usual.train, **longer)
        assert (run.config.model, run.config.data) == (usual.model, usual.data)
        assert run.config.optimizer == usual.optimizer


def test_claims_are_judged_by_figure_3s_rules(members: list[Member]) -> None:
    data = tables.load(members)
    fewer, higher = fig3_longer.claims(data)
    assert fewer == next(c for c in fig3.claims(data) if c.id == fewer.id)
    assert fewer.estimate > 2
    plain, bn = (networks.best(data, network).item() for network in MADE_UP)
    assert higher.estimate == bn - plain
    assert {fewer.verdict, higher.verdict} == {"undecided"}  # one seed
    assert {fewer.id, higher.id} == set(paper.CLAIMS["fig3_longer"])


def test_the_page(members: list[Member], tmp_path, drawn_once) -> None:
    report.write("fig3_longer", members, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "- After 30,000 steps the maximum is " in page
    assert "- So, of 1 run each, BN alone comes ahead at this rate, " in page
    assert "Not finished" not in page


def test_the_page_where_bn_is_behind(make_run, tmp_path, drawn_once) -> None:
    how = {"steps": 30_000, "eval_every": 500, "split": "val", "chance": 0.01, "traces": False}
    runs = [make_run(n.experiment, 0, top=0.2 if n == BN_BASELINE else 0.3, **how) for n in MADE_UP]
    report.write("fig3_longer", runs, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "of 1 run each, length alone does not bring BN ahead at this rate" in page
    assert "takes > 30,000 steps with BN" in page


def test_the_page_with_one_network_to_come(members: list[Member], tmp_path, drawn_once) -> None:
    there, gone = members
    never = replace(gone, directory=tmp_path / "nowhere")
    report.write("fig3_longer", [there, never], tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "**Not finished:** BN-Baseline (0 of 1 seed)." in page
    assert "Nothing to compare yet." in page
