"""BN alone in longer runs: Figure 3's rules, and a page where runs are missing too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import fig3, fig3_longer, inception
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.tables import Member

MADE_UP = ((INCEPTION, 0.24, 9_000), (BN_BASELINE, 0.29, 4_000))
HOW = {"steps": 30_000, "eval_every": 500, "split": "val", "chance": 0.01, "traces": False}


@pytest.fixture
def members(make_run) -> list[Member]:
    return [
        make_run(arm.keys["experiment"], 0, top=top, pace=pace, **HOW) for arm, top, pace in MADE_UP
    ]


def test_claims_are_judged_by_figure_3s_rules(members: list[Member]) -> None:
    runs = load(members)
    fewer, higher = fig3_longer.claims(runs)
    assert fewer == next(c for c in fig3.claims(runs) if c.id == fewer.id)
    assert fewer.quantity.interval.estimate > 2
    plain, bn = (inception.best(runs, arm).item() for arm in (INCEPTION, BN_BASELINE))
    assert higher.quantity.interval.estimate == bn - plain
    assert {fewer.verdict, higher.verdict} == {"undecided"}  # one seed


@pytest.mark.usefixtures("drawn_once")
def test_the_page(members: list[Member], tmp_path) -> None:
    report.write("fig3_longer", members, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "- The best accuracy is " in page
    assert "one run each (n = 1)" in page
    assert "three times the length does not bring BN ahead" not in page
    assert "Not finished" not in page


@pytest.mark.usefixtures("drawn_once")
def test_the_page_where_bn_is_behind(make_run, tmp_path) -> None:
    tops = (INCEPTION, 0.3), (BN_BASELINE, 0.2)
    runs = [make_run(arm.keys["experiment"], 0, top=top, **HOW) for arm, top in tops]
    report.write("fig3_longer", runs, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "three times the length does not bring BN ahead at this learning rate" in page
    assert "and > 30,000 with it" in page


@pytest.mark.usefixtures("drawn_once")
def test_the_page_with_one_network_to_come(members: list[Member], tmp_path) -> None:
    there, gone = members
    never = replace(gone, directory=tmp_path / "nowhere")
    report.write("fig3_longer", [there, never], tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "**Not finished:** BN-Baseline (0 of 1 run)." in page
    assert "There is nothing to compare yet." in page
