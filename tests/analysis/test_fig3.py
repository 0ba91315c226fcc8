"""Figures 2 and 3: steps to Inception's best, the rules at their edges, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from analysis.reports import same_from_files

from bn_repro import paper
from bn_repro.analysis import report
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.speed import ITSELF
from bn_repro.analysis.studies import fig3, fig3_failures, fig3_figures, inception
from bn_repro.analysis.studies.fig3_failures import SIGMOID, X5, X5_LARGE, X5_SMALL, control
from bn_repro.analysis.studies.inception import (
    BN_BASELINE,
    BN_BASELINE_X5,
    BN_SIGMOID,
    BN_X5,
    BN_X30,
    INCEPTION,
    NETWORKS,
)
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Member, Runs

# Maximum accuracy and pace; with these the paper's order shows, and He's weights stand the rate.
MADE_UP = {
    INCEPTION.label: (INCEPTION, 0.245, 6_000),
    BN_BASELINE.label: (BN_BASELINE, 0.29, 2_800),
    BN_X5.label: (BN_X5, 0.42, 2_000),
    BN_X30.label: (BN_X30, 0.47, 2_900),
    BN_SIGMOID.label: (BN_SIGMOID, 0.21, 3_600),
    X5.label: (X5, 0.34, 5_200),
    BN_BASELINE_X5.label: (BN_BASELINE_X5, 0.40, 2_200),
    SIGMOID.label: (SIGMOID, 0.01, 3_000),
    X5_SMALL.label: (X5_SMALL, 0.01, 3_000),
    X5_LARGE.label: (X5_LARGE, 0.01, 3_000),
    **{own.label: (own, 0.22, 6_000) for own in fig3_failures.CONTROLS},
}
ARMS = tuple(arm for arm, _, _ in MADE_UP.values())


def _runs(
    make_run, arms: Sequence[Arm] = ARMS, seeds: Sequence[int] = range(6), tops=None, **how
) -> list[Member]:
    """``tops``: maximum accuracies instead of those above, by the arm's label."""
    how = {"steps": 10_000, "eval_every": 250, "traces": False} | how
    members = []
    for arm in arms:
        _, top, pace = MADE_UP[arm.label]
        top = (tops or {}).get(arm.label, top)
        std = arm.keys["init_std"]
        varied = {} if std is None else {"model.init": "gaussian", "model.init_std": std}
        for seed in seeds:
            mine = {"dies_at": 4 + seed} if arm == X5_LARGE else {}
            members.append(
                make_run(
                    arm.keys["experiment"],
                    seed,
                    id=f"{list(MADE_UP).index(arm.label)}",
                    top=top + 0.004 * (seed % 3 - 1) * (top > 0.1),
                    pace=pace * (1 + 0.05 * (seed % 3 - 1)),
                    varied=varied,
                    **{"split": "val", "chance": 0.01, "sites": ("conv1", "5b.3x3")} | how | mine,
                )
            )
    return members


def _claims(runs: Runs) -> dict[str, Claim]:
    return {claim.id: claim for claim in fig3.claims(runs)}


def _findings(runs: Runs) -> str:
    return Prose("fig3", fig3.STUDY, runs, list(fig3.claims(runs)))["findings"]


def _median_steps(runs: Runs, arm: Arm, target: float) -> float:
    """By hand: the middle of the seeds."""
    wide, found = inception.curves(runs, arm), []
    for seed in wide.index:
        reached = [step for step in wide.columns if wide.loc[seed, step] >= target]  # pyright: ignore
        found.append(float(min(reached, default=math.inf)))
    return float(np.median(found))


@pytest.fixture
def members(make_run) -> list[Member]:
    return _runs(make_run)


@pytest.fixture
def runs(members: list[Member]) -> Runs:
    return load(members, name="fig3")


def test_one_experiment_stands_for_three_arms(runs: Runs) -> None:
    for arm in ARMS:
        assert len(arm.of(runs).runs) == 6
    assert inception.best(runs, X5).min() > 0.2
    assert inception.best(runs, X5_SMALL).max() < 0.02
    assert inception.best(runs, X5_LARGE).tolist() == [0.01] * 6  # never evaluated
    assert [arm.keys["experiment"] for arm in NETWORKS] == list(paper.FIGURE3)


def test_the_target_is_the_typical_best_of_inception(runs: Runs, make_run) -> None:
    best = np.sort(inception.best(runs, INCEPTION))
    assert fig3.targets(runs) == (pytest.approx(best[2], abs=1e-9),)
    two = INCEPTION.of(runs).where(seed=(0, 1))
    assert fig3.targets(two) == (pytest.approx(inception.best(two, INCEPTION).min(), abs=1e-9),)
    assert fig3.targets(BN_X5.of(runs)) == ()


def test_every_seed_of_inception_or_half_of_them_reach_its_target(runs: Runs) -> None:
    for seeds in ([0, 1, 2], [0, 1], [2]):
        part = runs.where(seed=seeds)
        (target,) = fig3.targets(part)
        assert (inception.best(part, INCEPTION) >= target).mean() >= 0.5


def test_speed_ups_are_as_wide_as_seeds_and_grid_leave_them(runs: Runs) -> None:
    race = inception.race(runs, INCEPTION, BN_X5)
    found, target = race.fewer(ITSELF), race.target(ITSELF)
    slow, fast = (_median_steps(runs, arm, target) for arm in (INCEPTION, BN_X5))
    assert found.estimate == slow / fast
    assert found.low <= (slow - 250) / fast
    assert found.high >= slow / (fast - 250)
    assert found.n == 6


def test_a_coarse_grid_decides_nothing(make_run) -> None:
    runs = load(_runs(make_run, (INCEPTION, BN_X5, BN_X30), eval_every=5_000))
    found = inception.race(runs, BN_X30, BN_X5).fewer(ITSELF)
    assert (found.estimate, found.low, found.high) == (1.0, 0.0, math.inf)


def test_claims(runs: Runs) -> None:
    found = _claims(runs)
    assert {id: claim.verdict for id, claim in found.items()} == {
        "bn_baseline_speed_up_ratio": "not testable",  # evaluations are too far apart
        "bn_x5_further_speed_up_ratio": "not testable",
        "bn_x5_speed_up_ratio": "not testable",
        "bn_x30_slower_at_first_ratio": "not testable",
        "bn_x30_over_bn_x5_maximum_difference": "holds",
        "bn_x30_over_inception_maximum_difference": "holds",
        "sigmoid_with_bn_over_chance_ratio": "holds",
        "sigmoid_without_bn_over_chance_ratio": "holds",
        "inception_x5_he_failed": "does not hold",
        "inception_x5_gaussian_001_failed": "holds",
        "inception_x5_gaussian_01_failed": "holds",
    }
    assert {claim.n for claim in found.values()} == {6}


def test_speeds_where_evaluations_are_fine_enough(make_run) -> None:
    arms = [INCEPTION, BN_BASELINE, BN_X5, BN_X30]
    found = _claims(load(_runs(make_run, arms, steps=8_000, eval_every=50)))
    assert {id: claim.verdict for id, claim in found.items() if "speed_up" in id} == {
        "bn_baseline_speed_up_ratio": "holds",
        "bn_x5_further_speed_up_ratio": "holds",
        "bn_x5_speed_up_ratio": "does not hold",  # not 14 times
    }
    assert "to its best itself" in str(found["bn_x5_speed_up_ratio"].quantity)


def test_a_rate_is_not_blamed_where_the_same_weights_fail_without_it(make_run) -> None:
    small, large = fig3_failures.CONTROLS
    arms = [INCEPTION, X5_SMALL, X5_LARGE, small, large]
    runs = load(_runs(make_run, arms, tops={small.label: 0.01}))
    found = _claims(runs)
    judged = [found[f"inception_x5_gaussian_{std}_failed"] for std in ("001", "01")]
    assert [claim.verdict for claim in judged] == ["not testable", "holds"]
    same = "Inception, std 0.01, from the same weights at its own rate,"
    assert judged[0].reason.startswith(f"{same} fails; depends on")
    assert "at Inception's own rate: 6 of 6 stayed at chance." in _findings(runs)
    alone = _claims(X5_LARGE.of(runs))["inception_x5_gaussian_01_failed"]
    assert alone.verdict == "undecided"
    assert alone.reason.startswith("not known whether Inception, std 0.1")
    assert control(X5).keys == INCEPTION.keys


def test_chance_comes_from_the_recorded_classes(make_run) -> None:
    """At 1,000 classes an accuracy of 1.5 % is 15 times chance, and a network that trained."""
    tops = {SIGMOID.label: 0.015, BN_SIGMOID.label: 0.015}
    runs = load(_runs(make_run, (SIGMOID, BN_SIGMOID), tops=tops, chance=0.001))
    found = _claims(runs)
    assert found["sigmoid_without_bn_over_chance_ratio"].verdict == "does not hold"
    assert fig3_failures.what_happened(runs, SIGMOID) == "6 of 6 trained"


def test_a_network_that_never_arrives_is_no_faster(runs: Runs, make_run) -> None:
    assert inception.race(runs, INCEPTION, BN_SIGMOID).fewer(ITSELF).estimate == 0.0
    row = "| BN-x5-Sigmoid | > 10,000 | never | not reached by the median run | - |"
    assert row in _findings(runs)
    some = [INCEPTION, BN_BASELINE, BN_X5]
    behind = load(_runs(make_run, some, range(6, 12), tops={BN_BASELINE.label: 0.18}))
    found = _claims(behind)
    assert found["bn_baseline_speed_up_ratio"].reason.startswith(
        "the median run of BN-Baseline does not reach the target"
    )
    words = _findings(behind)
    assert "as the target: BN-Baseline reaches it in no run; BN-x5 1" in words
    (target,) = fig3.targets(behind)
    slow, fast = (_median_steps(behind, arm, target) for arm in (INCEPTION, BN_X5))
    under, over = f"{slow / 10_000:.2f}", f"{10_000 / fast:.1f}"
    assert f"is under {under} times as fast as Inception, and BN-x5 over {over} times" in words


def test_the_rate_is_to_blame_where_bn_alone_is_ahead_at_the_higher_one_only(make_run) -> None:
    pairs = [INCEPTION, BN_BASELINE, X5, BN_BASELINE_X5]
    behind = load(_runs(make_run, pairs, tops={BN_BASELINE.label: 0.2}))
    blame = "BN alone is behind at Inception's rate and ahead at 5 times that"
    assert f"{blame}, beyond the noise of seeds" in _findings(behind)
    ahead = load(_runs(make_run, pairs, range(6, 12)))
    words = _findings(ahead)
    assert blame not in words
    for bn, none in (BN_BASELINE, INCEPTION), (BN_BASELINE_X5, X5):
        high, low = (inception.best(ahead, arm).mean() for arm in (bn, none))
        assert f" {100 * high:.1f} % | {100 * low:.1f} % | {100 * (high - low):+.2f} po" in words
    assert "at two learning rates" not in _findings(BN_X5.of(ahead))


def test_seeds_of_every_fate_are_told(make_run) -> None:
    members = _runs(make_run, [X5_LARGE], [0, 1])
    members += [
        make_run(
            *("imagenet/inception_x5", seed),
            id=members[0].id,
            top=top,
            varied=members[0].varied,
            **{"steps": 1_000, "eval_every": 250, "split": "val", "chance": 0.01, "traces": False},
        )
        for seed, top in ((2, 0.01), (3, 0.3))
    ]
    runs = load(members)
    assert fig3_failures.what_happened(runs, X5_LARGE) == (
        "2 of 4 diverged (at steps 4 and 5); 1 of 4 stayed at chance; 1 of 4 trained"
    )
    for figure in fig3.figures(runs).values():
        figure.draw_without_rendering()


@pytest.mark.usefixtures("drawn_once")
def test_partial_results_say_what_is_missing(members: list[Member], tmp_path) -> None:
    kept = [
        m
        if not (m.experiment == "imagenet/bn_x30" and m.seed > 1)
        and m.experiment not in ("imagenet/bn_baseline", "imagenet/inception_sigmoid")
        and m.varied.get("model.init_std") != 0.01
        else Member(*m.key, m.varied)
        for m in members
    ]
    found = report.write("fig3", kept, tmp_path / "out")
    readme = (tmp_path / "out/README.md").read_text()
    assert (
        "**Not finished:** BN-Baseline (0 of 6 runs), BN-x30 (2 of 6 runs), "
        "Inception-x5, std 0.01 (0 of 6 runs), Inception-Sigmoid (0 of 6 runs) and "
        "Inception, std 0.01 (0 of 6 runs). What follows is from the runs so far." in readme
    )
    verdicts = {c.id: (c.verdict, c.n) for c in found.claims}
    assert verdicts["bn_baseline_speed_up_ratio"] == ("undecided", 0)
    assert verdicts["bn_x30_over_bn_x5_maximum_difference"] == ("undecided", 2)
    assert verdicts["bn_x5_speed_up_ratio"][1] == 6


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("left", [INCEPTION, BN_X30, X5_LARGE], ids=lambda arm: arm.label)
def test_one_run_alone_still_draws(make_run, tmp_path, left: Arm) -> None:
    members = _runs(make_run, [left], [0], traces=True, steps=3_000)
    found = report.write("fig3", members, tmp_path / "out")
    assert {c.verdict for c in found.claims} == {"undecided"}
    readme = (tmp_path / "out/README.md").read_text()
    assert ("there is no target" in readme) == (left != INCEPTION)


def test_the_smallest_scale_draws(make_run) -> None:
    members = _runs(make_run, seeds=[0], steps=12, eval_every=4, traces=True)
    drawn = fig3.figures(load(members))
    assert list(drawn) == [
        *("figure2", "figure3"),
        *("figure_rates", "figure_failures", "figure_signals"),
    ]
    for figure in drawn.values():
        figure.draw_without_rendering()


def test_every_median_and_every_never_is_drawn(runs: Runs) -> None:
    figure = fig3_figures.figure2(runs)
    accuracy, crossings = figure.axes
    (target,) = fig3.targets(runs)
    large = [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for line in crossings.lines
        if line.get_markersize() == 7
    ]
    labels = [text.get_text() for text in crossings.texts]
    medians = [_median_steps(runs, arm, target) for arm in NETWORKS]
    assert large == [(m, row) for row, m in enumerate(medians) if math.isfinite(m)]
    assert [label.endswith(" reach it") for label in labels] == [math.isinf(m) for m in medians]
    names = {text.get_text(): text.get_position()[1] for text in accuracy.texts}
    heights = np.sort([names[arm.label] for arm in NETWORKS])
    assert np.diff(heights).min() >= 0.05  # names do not touch


@pytest.mark.usefixtures("drawn_once")
def test_the_report_is_whole_and_repeats(make_run, tmp_path) -> None:
    members = _runs(make_run, seeds=range(2), traces=True, steps=2_000)
    out = tmp_path / "out"
    report.write("fig3", members, out)
    files = same_from_files("fig3", members, out)
    assert {"figure2.svg", "figure3.png", "figure_failures.svg", "traces.csv.gz"} < files
    header = (out / "runs.csv").read_text().splitlines()[0]
    assert header.endswith(",blocks,model.init,model.init_std")
    assert ",steps_to_0." in header
