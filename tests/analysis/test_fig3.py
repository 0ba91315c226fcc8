"""Figures 2 and 3: arms told apart, steps to Inception's best, failures, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bn_repro import paper
from bn_repro.analysis import failures, networks, report, style, tables
from bn_repro.analysis.networks import (
    BN_BASELINE,
    BN_BASELINE_X5,
    BN_SIGMOID,
    BN_X5,
    BN_X30,
    INCEPTION,
    NETWORKS,
    SIGMOID,
    X5,
    Setting,
)
from bn_repro.analysis.studies import fig3
from bn_repro.analysis.tables import Member, StudyData

# Maximum accuracy and pace; with these the paper's order shows, and He's weights stand the rate.
MADE_UP = {
    INCEPTION: (0.245, 6_000),
    BN_BASELINE: (0.29, 2_800),
    BN_X5: (0.42, 2_000),
    BN_X30: (0.47, 2_900),
    BN_SIGMOID: (0.21, 3_600),
    X5: (0.34, 5_200),
    BN_BASELINE_X5: (0.40, 2_200),
    SIGMOID: (0.01, 3_000),
    failures.X5_SMALL: (0.01, 3_000),
    failures.X5_LARGE: (0.01, 3_000),
    **dict.fromkeys(failures.CONTROLS, (0.22, 6_000)),
}


def _runs(
    make_run, settings: Sequence[Setting] = tuple(MADE_UP), seeds: Sequence[int] = (0, 1, 2), **how
) -> list[Member]:
    how = {"steps": 10_000, "eval_every": 250, "traces": False} | how
    members = []
    for setting in settings:
        top, pace = MADE_UP[setting]
        for seed in seeds:
            mine = dict(how)
            if setting.std is not None:
                mine["varied"] = {"model.init": "gaussian", "model.init_std": setting.std}
            if setting == failures.X5_LARGE:
                mine["dies_at"] = 4 + seed
            members.append(
                make_run(
                    setting.experiment,
                    seed,
                    id=f"{list(MADE_UP).index(setting)}",
                    top=top + 0.004 * (seed % 3 - 1) * (top > 0.1),
                    pace=pace * (1 + 0.05 * (seed % 3 - 1)),
                    **{"split": "val", "chance": 0.01, "sites": ("conv1", "5b.3x3")} | mine,
                )
            )
    return members


def _median_steps(data: StudyData, setting: Setting, target: float) -> float:
    """By hand: the middle of the three seeds."""
    wide, found = networks.curves(data, setting), []
    for seed in wide.index:
        reached = [step for step in wide.columns if wide.loc[seed, step] >= target]  # pyright: ignore
        found.append(float(min(reached, default=math.inf)))
    return sorted(found)[len(found) // 2]


@pytest.fixture
def members(make_run) -> list[Member]:
    return _runs(make_run)


@pytest.fixture
def data(members: list[Member]) -> StudyData:
    return tables.load(members, name="fig3")


def test_one_experiment_stands_for_three_arms(data: StudyData) -> None:
    for setting in MADE_UP:
        assert len(networks.part(data, setting).runs) == 3
    assert networks.best(data, X5).min() > 0.2
    assert networks.best(data, failures.X5_SMALL).max() < 0.02
    assert networks.best(data, failures.X5_LARGE).tolist() == [0.01] * 3  # never evaluated
    assert len(networks.curves(data, Setting(X5.experiment))) == 3
    assert list(NETWORKS) == [Setting(experiment) for experiment in paper.FIGURE3]


def test_the_target_is_the_typical_best_of_inception(data: StudyData, make_run) -> None:
    best = np.sort(networks.best(data, INCEPTION))
    assert fig3.targets(data) == (pytest.approx(best[1], abs=1e-9),)
    two = tables.load([m for m in data.members if m.experiment == "imagenet/inception"][:2])
    assert fig3.targets(two) == (pytest.approx(networks.best(two, INCEPTION).min(), abs=1e-9),)
    assert fig3.targets(tables.load(_runs(make_run, [Setting("imagenet/bn_x5")], [7]))) == ()


def test_every_seed_of_inception_or_half_of_them_reach_its_target(data: StudyData) -> None:
    for seeds in ([0, 1, 2], [0, 1], [2]):
        part = tables.load([m for m in data.members if m.seed in seeds])
        (target,) = fig3.targets(part)
        reached = networks.best(part, INCEPTION) >= target
        assert reached.mean() >= 0.5


def test_speed_ups_are_as_wide_as_seeds_and_grid_leave_them(data: StudyData) -> None:
    found = networks.speed_up(data, INCEPTION, BN_X5, to_best_of=INCEPTION)
    (target,) = fig3.targets(data)
    slow, fast = (_median_steps(data, arm, target) for arm in (INCEPTION, BN_X5))
    assert found.estimate == slow / fast
    assert found.low <= (slow - 250) / fast
    assert found.high >= slow / (fast - 250)
    assert found.n == 3


def test_a_coarse_grid_decides_nothing(make_run) -> None:
    data = tables.load(_runs(make_run, (INCEPTION, BN_X5, BN_X30), eval_every=5_000))
    found = networks.speed_up(data, BN_X30, BN_X5, to_best_of=INCEPTION)
    assert (found.estimate, found.low, found.high) == (1.0, 0.0, math.inf)


def test_claims(data: StudyData) -> None:
    found = {c.id: c for c in fig3.claims(data)}
    verdicts = {id: c.verdict for id, c in found.items()}
    assert verdicts == {
        "bn_baseline_speed_up_ratio": "holds",
        "bn_x5_further_speed_up_ratio": "holds",
        "bn_x5_speed_up_ratio": "undecided",
        "bn_x30_slower_at_first_ratio": "undecided",  # one evaluation apart
        "bn_x30_over_bn_x5_maximum_difference": "holds",
        "bn_x30_over_inception_maximum_difference": "holds",
        "sigmoid_with_bn_over_chance_ratio": "holds",
        "sigmoid_without_bn_over_chance_ratio": "holds",
        "inception_x5_he_failed": "does not hold",
        "inception_x5_gaussian_001_failed": "holds",
        "inception_x5_gaussian_01_failed": "holds",
    }
    assert {c.n for c in found.values()} == {3}
    gap = found["bn_x30_over_bn_x5_maximum_difference"]
    values = networks.best(data, BN_X30), networks.best(data, BN_X5)
    assert gap.low == pytest.approx(values[0].min() - values[1].max())
    assert gap.high == pytest.approx(values[0].max() - values[1].min())


def test_a_rate_is_not_blamed_where_the_same_weights_fail_without_it(make_run, monkeypatch) -> None:
    control, other = failures.CONTROLS
    monkeypatch.setitem(MADE_UP, control, (0.01, 3_000))
    made = [INCEPTION, failures.X5_SMALL, failures.X5_LARGE, control, other]
    data = tables.load(_runs(make_run, made))
    verdicts = {claim.id: claim.verdict for claim in fig3.claims(data)}
    assert verdicts["inception_x5_gaussian_001_failed"] == "undecided"
    assert verdicts["inception_x5_gaussian_01_failed"] == "holds"
    words = fig3.findings(data)
    assert "look): 3 of 3 stayed at chance. So it is not the rate alone that fails there." in words
    before = tables.load([m for m in data.members if m.experiment != INCEPTION.experiment])
    verdicts = {claim.id: claim.verdict for claim in fig3.claims(before)}
    assert verdicts["inception_x5_gaussian_01_failed"] == "undecided"


def test_a_network_that_never_arrives_is_no_faster(data: StudyData, make_run) -> None:
    found = networks.speed_up(data, INCEPTION, BN_SIGMOID, to_best_of=INCEPTION)
    assert found.estimate == 0.0
    words = fig3.findings(data)
    assert "| BN-x5-Sigmoid | > 10,000 (> 10,000, > 10,000, > 10,000) | never | - | - |" in words


def test_one_run_against_one_that_never_arrives(make_run, monkeypatch) -> None:
    monkeypatch.setitem(MADE_UP, BN_BASELINE, (0.2, 2_800))
    words = fig3.findings(tables.load(_runs(make_run, [INCEPTION, BN_BASELINE, BN_X5])))
    assert "as the target: BN-Baseline never arrives; BN-x5 13.0, " in words
    assert "BN alone makes it less than 0.97 times as fast as Inception" in words
    assert "BN-x5 is more than 13.3 times as fast as BN-Baseline, not how much" in words


def test_sigmoid_is_set_beside_relu(data: StudyData) -> None:
    gap = 100 * (networks.best(data, BN_SIGMOID).mean() - networks.best(data, BN_X5).mean())
    said = f"**BN-x5-Sigmoid against BN-x5**: its maximum differs by {gap:+.2f} ["
    assert said in fig3.findings(data)
    assert "Never is not infinity" not in fig3.findings(data)


def test_the_rate_is_to_blame_where_bn_alone_is_ahead_at_the_higher_one_only(make_run, monkeypatch):
    monkeypatch.setitem(MADE_UP, BN_BASELINE, (0.2, 2_800))
    data = tables.load(_runs(make_run, [INCEPTION, BN_BASELINE, X5, BN_BASELINE_X5]))
    assert "So it is the rate: at the higher one BN alone is ahead." in fig3.findings(data)


def test_bn_alone_is_set_beside_none_at_both_rates(data: StudyData) -> None:
    words = fig3.findings(data)
    for rate, pair in ("0.0015", (BN_BASELINE, INCEPTION)), ("0.0075", (BN_BASELINE_X5, X5)):
        bn, none = (100 * networks.best(data, network).mean() for network in pair)
        said = f"at rate {rate} the maximum is {bn:.1f} % with BN and {none:.1f} % without "
        assert f"{said}({bn - none:+.2f} [" in words
        target = networks.target_of(data, pair[1])
        steps = [f"{_median_steps(data, network, target):,.0f}" for network in pair]
        assert f" %, takes {steps[0]} steps with BN and {steps[1]} without (" in words
    assert "So it is the rate" not in words
    before = tables.load([m for m in data.members if m.experiment != BN_BASELINE_X5.experiment])
    assert "at two rates" not in fig3.findings(before)


def test_findings(data: StudyData) -> None:
    words = fig3.findings(data)
    assert "missing" not in words
    for row in (
        "| Inception | 9,750 (",
        "| 31.0e6 | - | - | 18.",
        "| 2.1e6 | ",
        "| 14.8 | ",
        "| Inception-x5, He | 3 of 3 trained |",
        "| Inception-x5, std 0.01 | 3 of 3 stayed at chance |",
        "| Inception-x5, std 0.1 | 3 of 3 diverged (at steps 4, 5, 6) | - |",
        "rate does not fail here",
        "deviation 0.1, at 5 times the rate: 3 of 3 diverged (at steps 4, 5, 6); at Inception's "
        "own rate (added after a first look): 3 of 3 trained.",
        "evaluations 250 steps apart",
        "late in its 6.4 epochs",
        "over 12 runs with BN",
        "the median of BN-x30 is ahead from",
    ):
        assert row in words


@pytest.mark.usefixtures("drawn_once")
def test_partial_results_say_what_is_missing(members: list[Member], tmp_path) -> None:
    kept = [
        m
        if (m.experiment, m.seed) != ("imagenet/bn_x30", 2)
        and m.experiment not in ("imagenet/bn_baseline", "imagenet/inception_sigmoid")
        and m.varied.get("model.init_std") != 0.01
        else Member(*m.key, m.varied)
        for m in members
    ]
    found = report.write("fig3", kept, tmp_path / "out")
    readme = (tmp_path / "out/README.md").read_text()
    assert (
        "**Not finished:** BN-Baseline (0 of 3 seeds), "
        "BN-x30 (2 of 3 seeds), Inception-x5, std 0.01 (0 of 3 seeds), "
        "Inception-Sigmoid (0 of 3 seeds), Inception, std 0.01 (0 of 3 seeds). "
        "What follows is from the runs so far." in readme
    )
    assert "(13 had not finished)" in readme
    verdicts = {c.id: (c.verdict, c.n) for c in found.claims}
    assert verdicts["bn_baseline_speed_up_ratio"] == ("undecided", 0)
    assert verdicts["bn_x30_over_bn_x5_maximum_difference"] == ("undecided", 2)
    assert verdicts["bn_x5_speed_up_ratio"][1] == 3


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("left", [INCEPTION, BN_X30, failures.X5_LARGE])
def test_one_run_alone_still_draws(make_run, tmp_path, left: Setting) -> None:
    members = _runs(make_run, [left], [0], traces=True, steps=3_000)
    found = report.write("fig3", members, tmp_path / "out")
    assert {c.verdict for c in found.claims} == {"undecided"}
    readme = (tmp_path / "out/README.md").read_text()
    assert ("there is no target" in readme) == (left != INCEPTION)


def test_the_smallest_scale_draws(make_run) -> None:
    members = _runs(make_run, seeds=[0], steps=12, eval_every=4, traces=True)
    drawn = fig3.figures(tables.load(members))
    assert list(drawn) == [
        *("figure2", "figure3"),
        *("figure_rates", "figure_failures", "figure_signals"),
    ]
    for figure in drawn.values():
        figure.draw_without_rendering()


def test_large_markers_stand_where_the_median_arrives(data: StudyData) -> None:
    ax = fig3.figures(data)["figure2"].axes[0]
    (target,) = fig3.targets(data)
    for setting, arm in NETWORKS.items():
        large = [
            (np.asarray(line.get_xdata(), float).tolist(), line.get_markersize())
            for line in ax.lines
            if line.get_marker() == arm.marker and line.get_markeredgecolor() == style.INK
        ]
        size = 14 if setting == BN_X5 else 8  # BN-x30, which arrives with it, lies upon it
        at = [_median_steps(data, setting, target)]
        assert large == ([] if setting == BN_SIGMOID else [(at, size)])
    names = {text.get_text(): text.get_position()[1] for text in ax.texts}
    heights = np.sort([names[arm.label] for arm in NETWORKS.values()])
    assert np.diff(heights).min() >= 0.05  # names do not touch


def test_the_networks_differ_without_colour() -> None:
    looks = [(str(arm.linestyle), arm.marker) for arm in NETWORKS.values()]
    assert len(set(looks)) == len(looks)


def test_the_report_is_whole_and_repeats(make_run, tmp_path) -> None:
    members = _runs(make_run, seeds=range(2), traces=True, steps=2_000)
    out = tmp_path / "out"
    report.write("fig3", members, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"figure2.svg", "figure3.png", "figure_failures.svg", "traces.csv.gz"} < set(before)
    report.write("fig3", [Member(*m.key, m.varied) for m in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    header = (out / "runs.csv").read_text().splitlines()[0]
    assert header.endswith(",device,model.init,model.init_std")
    assert ",steps_to_0." in header


def test_runs_found_without_their_study_are_the_same_arms(make_run, tmp_path) -> None:
    """``load.discover`` gives every run all keys that differ, not only those a block varies."""
    members = _runs(make_run, [X5, failures.X5_SMALL], [0])
    spelled = [
        Member(m.experiment, m.id, m.seed, v, m.directory)
        for m, v in zip(
            members,
            (
                {"model.init": "he", "model.init_std": 0.1},
                {"model.init": "gaussian", "model.init_std": 0.01},
            ),
            strict=True,
        )
    ]
    data = tables.load(spelled)
    assert networks.part(data, X5).runs["id"].tolist() == [members[0].id]
    assert networks.part(data, failures.X5_SMALL).runs["id"].tolist() == [members[1].id]
    assert networks.part(data, failures.X5_LARGE).runs.empty
