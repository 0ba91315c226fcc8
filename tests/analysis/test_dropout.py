"""Whether BN does the work of dropout: what is chosen on held-out images, and judged on the test
set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import dropout
from bn_repro.analysis.tables import Member, Runs
from bn_repro.records import paths

BASELINE, BN = "mnist/baseline", "mnist/bn"
DROPOUTS, RATES = (0.0, 0.1, 0.5), (0.3, 1.0, 3.0)
FINAL_SEEDS = range(10, 15)
TOPS = {  # test accuracy at each dropout; the training accuracy is TRAIN above it
    (BASELINE, None): (0.970, 0.960, 0.900),
    (BN, None): (0.975, 0.970, 0.930),
    (BASELINE, 5000): (0.930, 0.940, 0.900),
    (BN, 5000): (0.938, 0.945, 0.920),
    (BASELINE, 1000): (0.870, 0.890, 0.880),
    (BN, 1000): (0.880, 0.870, 0.860),
}
TRAIN = {None: 0.01, 5000: 0.06, 1000: 0.12}
BEST_RATE = 1  # of RATES

Tops = dict[tuple[str, int | None], tuple[float, ...]]
Make = Callable[..., list[Member]]


@pytest.fixture
def make(make_run) -> Make:
    """Members of the study from exact accuracies, plus a little that each seed adds."""

    def accurate(key: tuple[str, int, str], varied: dict, tops: dict[str, float]) -> Member:
        experiment, seed, id = key
        block = "rates" if "val" in tops else "final"
        how = {"steps": 500, "traces": False, "blocks": block}
        member = make_run(experiment, seed, id=id, varied=varied, **how)
        rows = [
            {"step": step, "split": split, "statistics": "moving", "loss": 1.0, "top1": top}
            for split, reached in tops.items()
            for step, top in ((250, 0.5), (500, round(reached, 5)))
        ]
        (member.directory / paths.METRICS).write_text(as_lines(rows))
        return member

    def members(tops: Tops = TOPS) -> list[Member]:
        found = []
        for place, ((experiment, limit), reached) in enumerate(tops.items()):
            for i, (dropout_, top) in enumerate(zip(DROPOUTS, reached, strict=True)):
                common = {"data.limit": limit, "model.dropout": dropout_}
                for j, rate in enumerate(RATES):
                    for seed in (0, 1):
                        varied = common | {"optimizer.lr": rate}
                        held = top - 0.004 * abs(j - BEST_RATE) + 0.0005 * seed
                        key = (experiment, seed, f"h{place}{i}{j}")
                        found.append(accurate(key, varied, {"val": held}))
                for seed in FINAL_SEEDS:
                    varied = common | {"optimizer.lr": RATES[BEST_RATE]}
                    # The sum over seeds is 0, and both arms gain or lose alike by a seed.
                    test = top + 0.0004 * (seed - 12) * (1 + 0.2 * i)
                    ends = {"test": test, "train": test + TRAIN[limit]}
                    found.append(accurate((experiment, seed, f"f{place}{i}"), varied, ends))
        return found

    return members


FEW: Tops = {(BASELINE, 1000): (0.90, 0.91, 0.80), (BN, 1000): (0.92, 0.91, 0.80)}


@pytest.fixture
def data(make: Make) -> Runs:
    return load(make())


def judged(data: Runs) -> dict[str, tuple[float, str]]:
    return {
        k.id.removesuffix("_difference"): (
            round(100 * k.quantity.interval.estimate, 2),
            k.verdict,
        )
        for k in dropout.claims(data)
    }


def test_claims_are_judged_for_each_number_of_images(data: Runs) -> None:
    assert judged(data) == {
        "dropout_gain_60000": (0.0, "undecided"),  # both choose none: exactly 0
        "bn_alone_60000": (0.5, "holds"),
        "both_together_60000": (-0.5, "does not hold"),
        "dropout_gain_5000": (0.3, "holds"),  # +1.0 less +0.7
        "bn_alone_5000": (-0.2, "undecided"),
        "both_together_5000": (0.7, "holds"),
        "dropout_gain_1000": (2.0, "holds"),  # BN chooses none
        "bn_alone_1000": (-1.0, "does not hold"),
        "both_together_1000": (-1.0, "does not hold"),
    }
    assert {k.n for k in dropout.claims(data)} == {5}
    first = next(dropout.claims(data)).quantity.interval
    assert (first.low, first.high) == (0.0, 0.0)


def test_bn_may_add_to_what_dropout_gains(make: Make) -> None:
    tops = {(BASELINE, None): (0.97, 0.96, 0.9), (BN, None): (0.97, 0.98, 0.9)}
    found = judged(load(make(tops)))
    assert found["dropout_gain_60000"] == (-1.0, "does not hold")


@pytest.mark.parametrize(
    ("short", "verdict"), [(0.0, "holds"), (0.0011, "undecided"), (0.004, "does not hold")]
)
def test_just_as_good_has_a_margin(make: Make, short: float, verdict: str) -> None:
    tops = {(BASELINE, 1000): (0.9, 0.96, 0.9), (BN, 1000): (0.9604 - short, 0.95, 0.9)}
    members = make(tops)
    for member in members:  # BN's seeds differ from the baseline's, so that there is an interval
        assert member.directory is not None
        path = member.directory / paths.METRICS
        if member.experiment == BN and member.seed in (10, 11):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            shifted = [row | {"top1": row["top1"] - 0.0015} for row in rows]
            path.write_text(as_lines(shifted))
    assert judged(load(members))["bn_alone_1000"][1] == verdict


def test_dropout_is_chosen_on_held_out_images_at_its_own_best_rate(data: Runs) -> None:
    everything, some, few = dropout.read(data)
    assert [both.limit for both in (everything, some, few)] == [None, 5000, 1000]
    assert some.base.tuned is not None
    assert some.base.tuned.axes == (DROPOUTS, RATES)
    assert some.base.best() == 0.1
    assert some.base.tuned_rate(0.1) == (1.0, pytest.approx(0.94025))
    assert (few.bn.best(), few.bn.best(nonzero=True)) == (0.0, 0.1)
    assert [few.bn.of("gap", d).mean() for d in DROPOUTS] == pytest.approx([0.12] * 3)


def test_the_test_set_chooses_nothing(make: Make) -> None:
    members = make(FEW)
    for member in members:
        if member.blocks == "final" and member.varied["model.dropout"] == 0.5:
            assert member.directory is not None
            path = member.directory / paths.METRICS
            path.write_text(path.read_text().replace("0.8", "0.99"))
    (found,) = dropout.read(load(members))
    assert [part.best() for part in found.parts] == [0.1, 0.0]
    assert judged(load(members))["both_together_1000"] == (-1.0, "does not hold")


def test_a_diverged_run_counts_as_chance(make: Make) -> None:
    members = make(FEW)
    for member in members:
        if member.id == "f00" and member.directory is not None:  # the baseline without dropout
            status = {"state": "diverged", "step": 300, "seconds": 1.0, "error": None}
            (member.directory / paths.STATUS).write_text(json.dumps(status))
    (found,) = dropout.read(load(members))
    chance = [0.1] * 5
    assert found.base.of("test", 0.0).tolist() == found.base.of("train", 0.0).tolist() == chance


def prose(data: Runs) -> str:
    return Prose("dropout", dropout.STUDY, data, list(dropout.claims(data)))["findings"]


def test_findings_show_what_was_chosen(data: Runs) -> None:
    words = prose(data)
    assert words.count("dropout adds 0 by definition") == 3
    assert "| **0.1** | without BN | 1 | 94.0 % | 100.00 % [99.91, 100.00] | 94.00 %" in words
    assert "Of 18 settings, 0 chose the lowest rate of the grid and 0 the highest" in words
    assert "ended below" not in words


def test_a_rate_that_loses_fresh_seeds_is_said_and_marked(make: Make) -> None:
    members = make(FEW)
    for member in members:
        if member.id == "f01" and member.seed < 12:  # the baseline, dropout 0.1
            assert member.directory is not None
            path = member.directory / paths.METRICS
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            path.write_text(as_lines(row | {"top1": 0.2} for row in rows))
    data = load(members)
    assert "without BN, dropout 0.1, on 1,000 training images: 2 of 5" in prose(data)
    top = dropout.figures(data)["figure_dropout"].axes[0]
    assert [text.get_text() for text in top.texts] == ["2 of 5 runs\nbelow 50 %"]
    assert top.get_ylim()[0] > 0.7  # the lost runs do not stretch the axis


def test_a_rate_at_an_end_of_the_grid_or_not_the_best_is_said(make: Make) -> None:
    members = [m for m in make() if m.varied["optimizer.lr"] != 0.3]
    words = prose(load(members))
    assert "| 1 (lowest) |" in words
    assert "Of 18 settings, 18 chose the lowest rate" in words
    members = [
        replace(m, varied=m.varied | {"optimizer.lr": 3.0}) if m.id == "f00" else m for m in members
    ]
    assert "| 3 (highest), not the best, 1 |" in prose(load(members))


@pytest.mark.usefixtures("drawn_once")
def test_a_study_half_done_is_reported(make: Make, tmp_path: Path) -> None:
    members = make()
    tuned = [m for m in members if m.blocks == "rates"]
    found = report.write("dropout", tuned, tmp_path / "tuned")
    assert {(k.verdict, k.n) for k in found.claims} == {("undecided", 0)}
    plain = [m if m.varied["model.dropout"] == 0 else replace(m, directory=None) for m in members]
    found = report.write("dropout", plain, tmp_path / "plain")  # 0 is the best of what is in
    assert len(found.claims) == 9
    text = (tmp_path / "plain/README.md").read_text()
    assert text.count("Not all of the runs that choose the dropout have finished") == 3
    assert "| 0 | with BN | 1 | - | 98.50 % [98.42, 98.58] | 97.50 % [97.42, 97.58] |" in text
    fewer = [m for m in members if m.seed < 12]
    assert {(k.verdict, k.n) for k in dropout.claims(load(fewer))} == {("undecided", 2)}


@pytest.mark.usefixtures("drawn_once")
def test_the_report_repeats_from_its_files(make: Make, tmp_path: Path) -> None:
    members, out = make(), tmp_path / "out"
    report.write("dropout", members, out)
    same_from_files("dropout", members, out)
    assert not (out / "traces.csv.gz").exists()


def test_two_final_runs_of_a_setting_are_refused(make: Make) -> None:
    members = make(FEW)
    twin = next(m for m in members if m.id == "f10")  # BN without dropout
    with pytest.raises(ValueError, match=r"two runs with one seed \(experiment mnist/bn"):
        list(dropout.claims(load([*members, twin])))
