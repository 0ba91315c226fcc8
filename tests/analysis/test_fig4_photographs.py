"""Six ensembles of six: the claims count ensembles and images, from evaluations made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from analysis.reports import same_from_files
from analysis.test_fig4 import CHANGES, evaluate

from bn_repro.analysis import ensembles, report, results
from bn_repro.analysis.studies import fig4_photographs, fig4_runs
from bn_repro.analysis.tables import Member
from bn_repro.records import paths

pytestmark = pytest.mark.usefixtures("drawn_once")
HOW: dict[str, Any] = {"steps": 3_000, "split": "val", "traces": False}


@pytest.fixture
def members(make_run) -> list[Member]:
    """Six plain BN-x30 and six of each changed network; 144 crops help by a stronger signal."""
    found = []
    for block, varied in enumerate([{}, *CHANGES]):
        own = {"id": f"0c00000{block}", "blocks": f"ensemble {block}" if block else "plain"}
        for seed in range(10 * block, 10 * block + 6):
            found.append(make_run("imagenet/bn_x30", seed, varied=varied, **own, **HOW))
            evaluate(found[-1], 1, signal=1.8)
            evaluate(found[-1], 144, signal=2.1)
    return found


def test_every_claim_counts_six_and_counts_images(members, tmp_path: Path):
    out = tmp_path / "out"
    found = report.write("fig4_photographs", members, out)
    claims = {claim.id: claim for claim in found.claims}
    assert [claim.n for claim in claims.values()] == [6] * 5
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    assert all("over images" in claim.computed for claim in claims.values())
    assert "over seeds or ensembles and" in claims["ensemble_top5_difference"].computed
    assert "over ensembles and" in claims["ensemble_over_members_difference"].computed
    rows = results.read_extra(out / "evaluations.csv")
    whole = rows.loc[(rows["models"] == 6) & (rows["crops"] == 144)]
    assert len(whole) == 7  # and the one of plain BN-x30
    plain = [m.id for m in members[:1]]
    alone = rows.loc[rows["id"].isin(plain) & (rows["crops"] == 144), "top1"]
    sixes = whole["top1"].to_numpy()[:6]
    lead = claims["ensemble_top1_difference"].quantity.interval.estimate
    assert lead == pytest.approx(sixes.mean() - alone.mean(), abs=1e-5)
    readme = (out / "README.md").read_text()
    assert "bn-repro evaluate study=fig4_photographs" in readme
    assert "**An ensemble of equals**: the six plain BN-x30" in readme

    same_from_files("fig4_photographs", members, out)


def test_an_ensemble_is_beside_its_own_networks(members):
    table = fig4_photographs.STUDY.extra
    assert table is not None
    extra = table.rows(members, pd.DataFrame(columns=["experiment", "id", "seed"]))
    runs = replace(report_runs(members), extra=extra)
    alone = fig4_photographs.mean_of_members(runs)
    second = [m for m in members[6:] if m.seed % 10 == 1]  # the second seeds of all blocks
    assert [m.blocks for m in second] == [f"ensemble {k}" for k in range(1, 7)]
    accuracy = fig4_runs.scores(runs, fig4_runs.SIX, 144).accuracy
    expected = np.mean([accuracy[m.seed] for m in second])
    assert alone.accuracy.to_dict()[2] == pytest.approx(expected)
    assert alone.right.loc[2].to_numpy().mean() == pytest.approx(expected)


def report_runs(members: list[Member]) -> Any:
    return results.of_members(results.read(Path("nowhere")), members)


def test_an_incomplete_ensemble_is_none(members):
    there = [m for m in members if m.seed != 31]  # not known: is 32 its block's second or third?
    assert ensembles.grouped(there, lambda m: m.blocks.split("+")) == []
    whole = [m for m in members if m.blocks != "ensemble 3"]
    assert [len(e) for e in ensembles.grouped(whole, lambda m: m.blocks.split("+"))] == [5] * 6
    assert fig4_runs.ensembles_of(whole, fig4_runs.SIX) == []


def test_answers_stay_where_the_file_of_a_network_is_gone(members, tmp_path: Path):
    first = report.write("fig4_photographs", members, tmp_path / "out")
    gone = members[9].directory
    assert gone is not None
    paths.predictions_file(gone, 144, "moving").unlink()
    again = report.write("fig4_photographs", members, tmp_path / "out")
    assert [claim.computed for claim in again.claims] == [c.computed for c in first.claims]
    anew = report.write("fig4_photographs", members, tmp_path / "anew")  # nothing committed
    assert [claim.n for claim in anew.claims] == [6, 6, 5, 5, 5]


def test_where_plain_bn_x30_fails_nothing_is_testable(members, make_run, tmp_path: Path):
    members[0] = make_run(
        "imagenet/bn_x30", 99, id="0c000000", blocks="plain", state="diverged", **HOW
    )
    found = report.write("fig4_photographs", members, tmp_path / "out")
    assert {claim.verdict for claim in found.claims} == {"not testable"}
    assert {claim.reason.partition(";")[0] for claim in found.claims} == {"plain BN-x30 fails"}
