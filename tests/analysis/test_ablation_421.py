"""Each change in both directions: paired by seed, and weighed against the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bn_repro.analysis import report, tables
from bn_repro.analysis.networks import BN_BASELINE, BN_X5
from bn_repro.analysis.studies import ablation_421 as ablation
from bn_repro.analysis.studies.ablation_421 import CHANGES
from bn_repro.analysis.tables import Member, StudyData
from bn_repro.config.compose import compose

WORTH = dict(zip(CHANGES, (0.06, 0.02, 0.0, -0.06, 0.0, 0.015, 0.0), strict=True))


def _runs(make_run, seeds: Sequence[int] = (0, 1)) -> list[Member]:
    members = []

    def run(base, number: int, top: float, **varied) -> None:
        how = {"split": "val", "steps": 5_000, "eval_every": 250, "chance": 0.01, "traces": False}
        for seed in seeds:
            found = make_run(
                base.experiment,
                seed,
                id=f"{number}",
                top=top + 0.002 * (seed % 3 - 1),
                pace=1_500,
                varied=varied,
                **how,
            )
            members.append(found)

    run(BN_X5, 0, 0.36)
    run(BN_BASELINE, 0, 0.27)
    for number, (change, worth) in enumerate(WORTH.items(), start=1):
        run(BN_X5, number, 0.36 - worth, **{change.key: change.before})
        run(BN_BASELINE, number, 0.27 + worth, **{change.key: change.after})
    return members


@pytest.fixture
def members(make_run) -> list[Member]:
    return _runs(make_run)


@pytest.fixture
def data(members: list[Member]) -> StudyData:
    return tables.load(members, name="ablation_421")


def test_the_changes_are_those_of_the_study() -> None:
    """Keys and values as configs/study/ablation_421.yaml and the two experiments have them."""
    blocks = compose(["study=ablation_421"]).study.blocks
    single = set()
    for block in blocks:
        varied = [(key, block[key][0]) for key in block if key not in ("experiment", "seed")]
        single |= {(experiment, *varied) for experiment in block["experiment"] if varied}
    assert single == {
        (base.experiment, (change.key, value))
        for change in CHANGES
        for base, value in ((BN_X5, change.before), (BN_BASELINE, change.after))
    }
    for base, which in ((BN_X5, "after"), (BN_BASELINE, "before")):
        config = compose([f"experiment={base.experiment}"])
        for change in CHANGES:
            section, key = change.key.split(".")
            assert getattr(getattr(config, section), key) == getattr(change, which)


def test_effects_are_signed_for_the_change_and_paired(data: StudyData) -> None:
    for change, worth in WORTH.items():
        for base in (BN_X5, BN_BASELINE):
            found = ablation.effects(data, change, base)
            assert found.index.tolist() == [0, 1]
            assert found.mean() == pytest.approx(0.8 * worth, abs=0.008)
    together = ablation.effects(data, None, BN_X5)
    plain = {
        seed: [
            tables.select(data.runs, experiment=e, id="0", seed=seed)["final_top1"].item()
            for e in ("imagenet/bn_baseline", "imagenet/bn_x5")
        ]
        for seed in (0, 1)
    }
    assert together.tolist() == [plain[s][1] - plain[s][0] for s in (0, 1)]


def test_all_keys_spelled_out_are_the_same_arms(members: list[Member]) -> None:
    """As ``load.discover`` gives them: every run with the values of all keys."""
    spelled = []
    for m in members:
        own = {k.key: k.after if m.experiment == "imagenet/bn_x5" else k.before for k in CHANGES}
        spelled.append(Member(m.experiment, m.id, m.seed, own | m.varied, m.directory))
    data = tables.load(spelled)
    for number, change in enumerate((None, *CHANGES)):
        for base in (BN_X5, BN_BASELINE):
            runs = ablation.runs_of(data, (base, change)).runs
            assert runs["id"].tolist() == [f"{number}"] * 2


def test_two_seeds_decide_nothing_and_three_may(data: StudyData, make_run, tmp_path) -> None:
    two = ablation.claims(data)
    assert [c.verdict for c in two] == ["undecided"] * 8
    assert {c.n for c in two} == {2}
    assert len({c.id for c in two}) == 8
    more = tables.load([*data.members, *_runs(make_run, seeds=[2])])
    three = {c.id: c for c in ablation.claims(more)}
    verdicts = {id: c.verdict for id, c in three.items()}
    assert verdicts["all_seven_difference"] == "holds"
    assert verdicts["higher_learning_rate_difference"] == "holds"
    assert verdicts["decay_6_times_faster_difference"] == "does not hold"
    # Leaving it out costs nothing, which is all that is asked for.
    assert verdicts["no_local_response_normalization_difference"] == "holds"
    rate = three["higher_learning_rate_difference"]
    both = [ablation.effects(more, CHANGES[0], base) for base in (BN_X5, BN_BASELINE)]
    assert rate.estimate == pytest.approx(((both[0] + both[1]) / 2).mean())


def test_directions_that_disagree_decide_nothing(make_run) -> None:
    members = _runs(make_run, seeds=range(3))
    turned = [
        make_run(
            "imagenet/bn_x5",
            seed,
            id="turned",
            top=0.5,
            pace=1_500,
            varied={"optimizer.lr": 0.0015},
            **{"split": "val", "steps": 5_000, "eval_every": 250, "traces": False},
        )
        for seed in range(3)
    ]
    kept = [m for m in members if (m.experiment, m.id) != ("imagenet/bn_x5", "1")]
    found = {c.id: c for c in ablation.claims(tables.load([*kept, *turned]))}
    assert found["higher_learning_rate_difference"].verdict == "undecided"


@pytest.mark.parametrize(("worth", "verdict"), [(-0.02, "holds"), (-0.09, "does not hold")])
def test_a_change_may_lose_a_tenth_where_its_sentence_says_so(
    make_run, monkeypatch, worth: float, verdict: str
) -> None:
    monkeypatch.setitem(WORTH, CHANGES[4], worth)
    data = tables.load(_runs(make_run, seeds=range(3)))
    found = {c.id: c for c in ablation.claims(data)}["no_local_response_normalization_difference"]
    assert found.estimate < 0
    assert found.verdict == verdict


def test_the_noise_is_pooled_over_the_arms_of_a_direction(data: StudyData) -> None:
    for base in (BN_X5, BN_BASELINE):
        spread, freedom = ablation.noise(data, base)
        assert freedom == 8
        top1 = tables.select(data.runs, experiment=base.experiment)["final_top1"].to_numpy(float)
        arms = top1.reshape(8, 2)
        assert spread == pytest.approx(math.sqrt(np.mean(arms.var(axis=1, ddof=1))))
        assert ablation.noise_limit(data, base) == pytest.approx(2.306 * spread, rel=0.01)
    words = ablation.findings(data)
    helps = next(line for line in words.splitlines() if "the change helps" in line)
    harms = next(line for line in words.splitlines() if "the change harms" in line)
    assert "higher learning rate (in BN-x5)" in helps
    assert "more thorough shuffling (in BN-Baseline)" in helps
    assert "decay 6 times faster (in BN-x5); decay 6 times faster (in BN-Baseline)" in harms


def test_the_sum_is_told_without_the_faster_decay_too(data: StudyData) -> None:
    words = ablation.summary(data)
    sums = [
        100 * sum(ablation.effects(data, change, base).mean() for change in CHANGES)
        for base in (BN_X5, BN_BASELINE)
    ]
    decay = [100 * ablation.effects(data, CHANGES[3], base).mean() for base in (BN_X5, BN_BASELINE)]
    assert f"is {sums[0]:+.2f}, and each made alone in BN-Baseline {sums[1]:+.2f}" in words
    assert f"are {sums[0] - decay[0]:+.2f} and {sums[1] - decay[1]:+.2f}." in words


def test_the_table_has_both_directions(data: StudyData) -> None:
    words = ablation.findings(data)
    assert "| 1. higher learning rate | `0.0015`, `0.0075` | " in words
    assert "| 5. no local response normalization | yes, no | " in words
    assert "missing" not in words
    assert "each made alone in BN-Baseline" in words


@pytest.mark.usefixtures("drawn_once")
def test_partial_results_say_what_is_missing(members: list[Member], tmp_path) -> None:
    kept = [
        m if m.experiment == "imagenet/bn_x5" and m.id != "3" else Member(*m.key, m.varied)
        for m in members
    ]
    found = report.write("ablation_421", kept, tmp_path / "out")
    readme = (tmp_path / "out/README.md").read_text()
    assert "BN-x5 with L2 weight 5 times smaller undone (0 of 2 seeds)" in readme
    assert "BN-Baseline with no dropout made (0 of 2 seeds)" in readme
    assert {c.n for c in found.claims} == {0}


def test_the_report_is_whole_and_repeats(members: list[Member], tmp_path) -> None:
    out = tmp_path / "out"
    report.write("ablation_421", members, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"figure_ablation.svg", "figure_ablation.png"} < set(before)
    report.write("ablation_421", [Member(*m.key, m.varied) for m in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_diverged_run_counts_as_chance(make_run) -> None:
    members = _runs(make_run, seeds=[0])
    kept = [m for m in members if (m.experiment, m.id) != ("imagenet/bn_baseline", "1")]
    how = {"split": "val", "eval_every": 250, "traces": False, "varied": {"optimizer.lr": 0.0075}}
    lost = make_run("imagenet/bn_baseline", 0, id="1x", dies_at=300, **how)
    data = tables.load([*kept, lost])
    found = ablation.effects(data, CHANGES[0], BN_BASELINE)
    assert found.item() < -0.1
    assert np.isfinite(found.item())
    for figure in ablation.figures(data).values():
        figure.draw_without_rendering()
