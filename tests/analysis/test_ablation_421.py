"""Each change in both directions: paired by seed, and weighed against the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from analysis.reports import same_from_files

from bn_repro.analysis import frames, report
from bn_repro.analysis.load import load
from bn_repro.analysis.studies import ablation_421 as ablation
from bn_repro.analysis.studies.ablation_421 import BASES, CHANGES
from bn_repro.analysis.studies.ablation_421_runs import WAYS
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5
from bn_repro.analysis.tables import Member, Runs

WORTH = dict(zip(CHANGES, (0.06, 0.02, 0.0, -0.06, 0.0, 0.015, 0.0), strict=True))
HOW = {"split": "val", "steps": 5_000, "eval_every": 250, "chance": 0.01, "traces": False}
RATE = CHANGES[0]


def _runs(make_run, seeds: Sequence[int] = (0, 1)) -> list[Member]:
    members = []
    for number, change in enumerate((None, *CHANGES)):
        for base, top, sign in ((BN_X5, 0.36, -1), (BN_BASELINE, 0.27, 1)):
            own = {"id": f"{number}", "blocks": ablation.block_of(change, base), "pace": 1_500}
            if change:
                own |= {"varied": {"some.key": WAYS[base.label]}}
                top += sign * WORTH[change]
            for seed in seeds:
                how = own | {"top": top + 0.002 * (seed % 3 - 1)} | HOW
                members.append(make_run(base.keys["experiment"], seed, **how))
    return members


@pytest.fixture
def members(make_run) -> list[Member]:
    return _runs(make_run)


@pytest.fixture
def runs(members: list[Member]) -> Runs:
    return load(members, name="ablation_421")


def test_effects_are_signed_for_the_change_and_paired(runs: Runs) -> None:
    for change, worth in WORTH.items():
        for base in BASES:
            found = ablation.effects(runs, change, base)
            assert found.index.tolist() == [0, 1]
            assert found.mean() == pytest.approx(0.8 * worth, abs=0.008)
    together = ablation.effects(runs, None, BN_X5)
    plain = {
        seed: [
            frames.select(runs.runs, experiment=e, id="0", seed=seed)["final_top1"].item()
            for e in ("imagenet/bn_baseline", "imagenet/bn_x5")
        ]
        for seed in (0, 1)
    }
    assert together.tolist() == [plain[s][1] - plain[s][0] for s in (0, 1)]


def test_two_seeds_decide_nothing_and_five_may(runs: Runs, make_run) -> None:
    two = list(ablation.claims(runs))
    assert [c.verdict for c in two] == ["undecided"] * 8
    assert {(c.n, c.reason.partition(";")[0]) for c in two} == {(2, "fewer than 5 seeds")}
    assert len({c.id for c in two}) == 8
    more = load([*runs.members, *_runs(make_run, seeds=[2, 3, 4])])
    five = {c.id: c for c in ablation.claims(more)}
    verdicts = {id: c.verdict for id, c in five.items()}
    assert verdicts["all_seven_difference"] == "holds"
    assert verdicts["higher_learning_rate_difference"] == "holds"
    assert verdicts["decay_6_times_faster_difference"] == "does not hold"
    # Leaving it out costs nothing, which is all that is asked for.
    assert verdicts["no_local_response_normalization_difference"] == "holds"
    both = [ablation.effects(more, RATE, base) for base in BASES]
    rate = five["higher_learning_rate_difference"].quantity.interval
    assert rate.estimate == pytest.approx(((both[0] + both[1]) / 2).mean())


def test_directions_that_disagree_decide_nothing(make_run) -> None:
    members = _runs(make_run, seeds=range(5))
    how = HOW | {"id": "turned", "blocks": "learning rate undone", "top": 0.5, "pace": 1_500}
    turned = [make_run("imagenet/bn_x5", seed, **how) for seed in range(5)]
    kept = [m for m in members if (m.experiment, m.id) != ("imagenet/bn_x5", "1")]
    found = {c.id: c for c in ablation.claims(load([*kept, *turned]))}
    rate = found["higher_learning_rate_difference"]
    assert (rate.verdict, rate.reason) == ("undecided", "the directions disagree")


@pytest.mark.parametrize(("worth", "verdict"), [(-0.02, "holds"), (-0.09, "does not hold")])
def test_a_change_may_lose_a_tenth_where_its_sentence_says_so(
    make_run, monkeypatch, worth: float, verdict: str
) -> None:
    monkeypatch.setitem(WORTH, CHANGES[4], worth)
    runs = load(_runs(make_run, seeds=range(5)))
    found = {c.id: c for c in ablation.claims(runs)}["no_local_response_normalization_difference"]
    assert found.quantity.interval.estimate < 0
    assert found.verdict == verdict


def test_the_noise_is_pooled_over_the_arms_of_a_direction(runs: Runs) -> None:
    for base in BASES:
        found = ablation.noise(runs, base)
        assert found is not None
        assert found.freedom == 8
        top1 = frames.select(runs.runs, experiment=base.keys["experiment"])["final_top1"]
        arms = top1.to_numpy(float).reshape(8, 2)
        assert found.spread == pytest.approx(math.sqrt(np.mean(arms.var(axis=1, ddof=1))))
        assert found.limit == pytest.approx(2.306 * found.spread, rel=0.01)


def _readme(members: Sequence[Member], out) -> str:
    report.write("ablation_421", members, out)
    return (out / "README.md").read_text()


@pytest.mark.usefixtures("drawn_once")
def test_what_is_beyond_the_noise_is_listed_and_the_sums_are_told(
    runs: Runs, members: list[Member], tmp_path
) -> None:
    words = _readme(members, tmp_path / "out")
    beyond = dict(
        line.removeprefix("- Beyond the noise in ").split(": ", 1)
        for line in words.splitlines()
        if line.startswith("- Beyond the noise")
    )
    for base in BASES:
        for name in ("higher learning rate", "decay 6 times faster"):
            assert name in beyond[base.label]
        assert "no local response" not in beyond[base.label]
        sums = [100 * ablation.effects(runs, change, base).mean() for change in CHANGES]
        assert f"{sum(sums):+.2f} points" in words
        assert f"{sum(sums) - sums[3]:+.2f} points" in words
    assert "| 1. higher learning rate | `undone`, `made` | " in words


@pytest.mark.usefixtures("drawn_once")
def test_partial_results_are_reported(members: list[Member], tmp_path) -> None:
    kept = [
        m if m.experiment == "imagenet/bn_x5" and m.id != "3" else replace(m, directory=None)
        for m in members
    ]
    found = report.write("ablation_421", kept, tmp_path / "out")
    assert {c.n for c in found.claims} == {0}
    readme = (tmp_path / "out/README.md").read_text()
    assert "14 of 32 runs" in readme
    assert "The sum of the seven" not in readme
    assert "nan" not in readme


@pytest.mark.usefixtures("drawn_once")
def test_the_report_is_whole_and_repeats(members: list[Member], tmp_path) -> None:
    out = tmp_path / "out"
    report.write("ablation_421", members, out)
    files = same_from_files("ablation_421", members, out)
    assert {"figure_ablation.svg", "figure_ablation.png"} < files


def test_a_diverged_run_counts_as_chance(make_run) -> None:
    members = _runs(make_run, seeds=[0])
    kept = [m for m in members if (m.experiment, m.id) != ("imagenet/bn_baseline", "1")]
    how = HOW | {"id": "1x", "dies_at": 300, "blocks": "learning rate made"}
    runs = load([*kept, make_run("imagenet/bn_baseline", 0, **how)])
    plain = ablation.final(runs, None, BN_BASELINE)
    assert ablation.effects(runs, RATE, BN_BASELINE).item() == pytest.approx(0.01 - plain.item())
    for figure in ablation.figures(runs).values():
        figure.draw_without_rendering()
