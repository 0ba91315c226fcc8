"""The fair comparison: rates chosen on held-out images, judged on the test set."""

from __future__ import annotations

import pytest

from bn_repro.analysis import report, tables
from bn_repro.analysis.studies import fig1_rates
from bn_repro.analysis.tables import Member, StudyData

RATES = (0.01, 0.1, 1.0, 10.0)
TOPS = {"mnist/baseline": (0.90, 0.95, 0.975, 0.10), "mnist/bn": (0.93, 0.972, 0.978, 0.971)}


@pytest.fixture
def members(make_run) -> list[Member]:
    """4 rates x 3 seeds on held-out images, and 5 fresh seeds at rate 1."""
    found = []
    for arm, tops in TOPS.items():
        for number, (rate, top) in enumerate(zip(RATES, tops, strict=True)):
            for seed in range(3):
                how = {"id": f"{number}{arm[-1]}", "split": "val", "top": top, "pace": 300}
                varied = {"optimizer.lr": rate, "data.held_out": 10_000}
                lost = arm == "mnist/baseline" and rate == 10
                how["state"] = "diverged" if lost else "completed"
                found.append(make_run(arm, seed, steps=8_000, varied=varied, traces=False, **how))
    for arm, top in (("mnist/baseline", 0.97), ("mnist/bn", 0.98)):
        for seed in range(10, 15):
            how = {"id": f"f{arm[-1]}", "top": top, "pace": 300}
            varied = {"optimizer.lr": 1.0}
            found.append(make_run(arm, seed, steps=8_000, varied=varied, traces=False, **how))
    return found


@pytest.fixture
def data(members: list[Member]) -> StudyData:
    return tables.load(members)


def test_the_grid_is_read_from_held_out_images(data: StudyData) -> None:
    found = fig1_rates.grid(data, "mnist/baseline")
    assert found is not None
    assert found.axes == (RATES,)
    assert found.seeds == (0, 1, 2)
    assert found.values.shape == (4, 3)
    assert found.values[3].tolist() == [0.1] * 3  # diverged: chance
    assert RATES[found.best[0]] == 1.0
    assert fig1_rates.good(found) == (1.0, 1.0)
    bn = fig1_rates.grid(data, "mnist/bn")
    assert bn is not None
    assert fig1_rates.good(bn) == (0.1, 10.0)


def test_claims(data: StudyData) -> None:
    end, ahead, fewer, wider = fig1_rates.claims(data)
    assert (end.verdict, end.n) == ("holds", 5)
    assert end.estimate == pytest.approx(0.01, abs=0.003)
    assert ahead.id == "ahead_at_each_step_difference"
    assert fewer.verdict == "holds"
    assert fewer.estimate > 1
    assert wider.estimate == pytest.approx(100)  # 0.1 to 10, against 1 alone
    assert (wider.verdict, wider.n) == ("holds", 3)


def test_only_the_final_runs_meet_the_test_set(data: StudyData) -> None:
    a, b = fig1_rates.finals(data)
    assert a.index.tolist() == b.index.tolist() == list(range(10, 15))
    assert fig1_rates.final_rate(data, "mnist/bn") == 1.0
    assert fig1_rates.target_of(a) == pytest.approx(float(a.median().max()), abs=1e-4)


def test_findings_say_what_remains(data: StudyData) -> None:
    words = fig1_rates.findings(data)
    assert (
        "**What remains of the claim.** At each arm's own best rate BN still ends higher" in words
    )
    assert "its range of good rates is wider" in words
    assert "it may be wider" in words  # BN's range ends where the grid does
    assert "| 10 | 10.0 % | 97." in words
    assert "not the best rate" not in words.replace("\n", " ")


def test_a_final_rate_that_is_not_the_best_is_said(members: list[Member], make_run) -> None:
    kept = [m for m in members if m.seed < 10 or m.experiment == "mnist/baseline"]
    kept += [
        make_run("mnist/bn", s, steps=8_000, id="other", varied={"optimizer.lr": 0.1}, traces=False)
        for s in range(10, 15)
    ]
    words = fig1_rates.findings(tables.load(kept))
    assert "with BN used 0.1, which is not the best rate" in words


@pytest.mark.usefixtures("drawn_once")
def test_the_report_before_the_final_runs(members: list[Member], tmp_path) -> None:
    grid = [m for m in members if m.seed < 10]
    found = report.write("fig1_rates", grid, tmp_path / "out")
    assert [c.verdict for c in found.claims] == ["undecided"] * 3 + ["holds"]
    assert (tmp_path / "out/figure1_rates.svg").exists()
    assert not (tmp_path / "out/traces.csv.gz").exists()


def test_the_report_is_whole_and_repeats(members: list[Member], tmp_path) -> None:
    out = tmp_path / "out"
    report.write("fig1_rates", members, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    report.write("fig1_rates", [Member(*m.key, m.varied) for m in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    header = (out / "runs.csv").read_text().splitlines()[0]
    assert header.endswith(",device,optimizer.lr,data.held_out")
