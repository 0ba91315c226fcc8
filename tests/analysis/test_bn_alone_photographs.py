"""BN alone at a rate of its own: what the search chose, and two networks compared without it."""

from __future__ import annotations

import pytest

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import bn_alone_photographs
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.tables import Member

HOW = {"steps": 6_000, "eval_every": 100, "split": "val", "chance": 0.05, "traces": False}
RATES = {0.01: 0.42, 0.02: 0.44, 0.04: 0.47, 0.08: 0.45, 0.16: 0.2}
BEST = 0.04


def _members(make_run, bn: float, pace: float) -> list[Member]:
    inception, baseline = (arm.keys["experiment"] for arm in (INCEPTION, BN_BASELINE))
    found = []
    for number, (rate, top) in enumerate(RATES.items()):
        how = HOW | {"id": f"0000000{number}", "top": top, "varied": {"optimizer.lr": rate}}
        found += [make_run(baseline, s, blocks="rates", **how) for s in (1000, 1001)]
    for seed in range(10, 16):
        found.append(make_run(inception, seed, top=0.45, pace=600, blocks="reference", **HOW))
        how = HOW | {"varied": {"optimizer.lr": BEST}}
        found.append(make_run(baseline, seed, top=bn, pace=pace, blocks="own rate", **how))
    return found


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize(
    ("top", "pace", "verdict"), [(0.49, 350, "holds"), (0.41, 2_400, "does not hold")]
)
def test_the_claims_leave_the_search_out(make_run, tmp_path, top, pace, verdict) -> None:
    members = _members(make_run, top, pace)
    found = {c.id: c for c in bn_alone_photographs.claims(load(members))}
    without = [m for m in members if m.blocks != "rates"]
    assert found == {c.id: c for c in bn_alone_photographs.claims(load(without))}
    assert {c.verdict for c in found.values()} == {verdict}
    report.write("bn_alone_photographs", members, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert f" at {BEST:g}, " in page.split("**The search**")[1]
    assert "Not finished" not in page
    assert "a better one may lie beyond" not in page


@pytest.mark.usefixtures("drawn_once")
def test_the_page_of_the_search_alone(make_run, tmp_path) -> None:
    search = [m for m in _members(make_run, 0.49, 350) if m.blocks == "rates"]
    found = report.write("bn_alone_photographs", search, tmp_path / "out")
    assert found.prose["outcome"] == "There is nothing to compare yet."
    assert {claim.verdict for claim in found.claims} == {"undecided"}
