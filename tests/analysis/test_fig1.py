"""Figure 1's figures draw at any length; its claims follow the rules they state."""

from __future__ import annotations

import numpy as np
import pytest

from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.tables import Runs


def _prose(runs: Runs) -> Prose:
    return Prose("fig1", fig1.STUDY, runs, list(fig1.claims(runs)))


def test_claims_on_made_up_runs(fig1_members) -> None:
    runs = load(fig1_members)
    found = {claim.id: claim for claim in fig1.claims(runs)}
    assert list(found) == [
        "final_accuracy_difference",
        "ahead_at_each_step_difference",
        "percentile_movement_unit_ratio",
        "percentile_movement_layer_ratio",
    ]
    without, with_bn = fig1.curves(runs)
    assert without.shape == with_bn.shape == (5, 50)
    final = found["final_accuracy_difference"].quantity.interval
    assert final.estimate == pytest.approx((with_bn - without).to_numpy()[:, -1].mean())
    assert {claim.n for claim in found.values()} == {5}
    assert {claim.verdict for claim in found.values()} == {"holds"}  # as the fixture was made


def test_arms_turned_round_turn_the_verdicts(make_run) -> None:
    members = [make_run("mnist/baseline", s, top=0.98, pace=500) for s in range(5)]
    members += [make_run("mnist/bn", s, top=0.90, pace=500) for s in range(5)]
    found = list(fig1.claims(load(members)))
    assert [claim.verdict for claim in found[:2]] == ["does not hold"] * 2


def test_a_diverged_run_counts_as_chance(make_run) -> None:
    members = [make_run("mnist/baseline", s, steps=5_000) for s in range(3)]
    members += [make_run("mnist/bn", s, steps=5_000, dies_at=3_500) for s in range(2)]
    members += [make_run("mnist/bn", 2, steps=5_000)]
    _, with_bn = fig1.curves(load(members))
    assert with_bn.loc[[0, 1], 5_000].tolist() == [0.1, 0.1]
    assert with_bn.loc[2, 5_000] > 0.8
    assert with_bn.loc[0, 3_000] > 0.8


def test_seeds_are_paired_and_those_of_one_arm_left_out(make_run) -> None:
    members = [make_run("mnist/baseline", s, steps=5_000) for s in (0, 1, 2)]
    members += [make_run("mnist/bn", s, steps=5_000) for s in (1, 2, 3)]
    assert {claim.n for claim in fig1.claims(load(members))} == {2}


@pytest.mark.parametrize("steps", [40, 3_000, 15_000, 50_000])
def test_figures_at_any_length(make_run, steps: int) -> None:
    arms, every = ("mnist/baseline", "mnist/bn"), max(1, min(1_000, steps // 10))
    members = [make_run(arm, s, steps=steps, eval_every=every) for arm in arms for s in range(2)]
    figures = fig1.figures(load(members))
    assert list(figures) == ["figure1", "figure1_units", "figure1_layers"]
    for figure in figures.values():
        figure.draw_without_rendering()
    accuracy = figures["figure1"].subfigs[0].axes[0]
    if steps == 50_000:
        assert accuracy.get_xlim() == (10_000, 50_000)
        assert accuracy.get_ylim() == (0.7, 1.0)
        assert accuracy.child_axes[0].get_xlim() == (0, 10_000)
    elif steps <= 10_000:
        assert accuracy.get_xlim() == (0, steps)
        assert not accuracy.child_axes


def test_one_scale_for_both_arms_and_it_holds_the_data(fig1_members) -> None:
    figure = fig1.figures(load(fig1_members))["figure1"]
    panels = figure.subfigs[1].axes
    assert len({ax.get_ylim() for ax in panels[:4]}) == 1
    low, high = panels[0].get_ylim()
    assert low == -high
    assert high >= 2
    assert panels[4].get_ylim() == panels[5].get_ylim()
    for ax in panels[:4]:
        for line in ax.lines:
            if line.get_linewidth() >= 1:  # percentiles; not each batch's, which are noise
                assert np.abs(np.asarray(line.get_ydata(), float)).max() <= max(high, 1)


def test_one_arm_or_one_seed_still_reports(make_run) -> None:
    runs = load([make_run("mnist/bn", 0, steps=12_000)])
    for figure in fig1.figures(runs).values():
        figure.draw_without_rendering()
    assert {claim.verdict for claim in fig1.claims(runs)} == {"undecided"}
    assert "mean of 1 seed" in _prose(runs)["findings"]
    pair = [make_run("mnist/bn", 1), make_run("mnist/baseline", 1)]
    assert "mean of 1 seed" in _prose(load(pair))["findings"]


def test_without_traces_the_rest_is_reported(make_run) -> None:
    arms = ("mnist/baseline", "mnist/bn")
    runs = load([make_run(a, s, traces=False, steps=12_000) for a in arms for s in range(5)])
    assert list(fig1.figures(runs)) == ["figure1"]
    verdicts = [claim.verdict for claim in fig1.claims(runs)]
    assert verdicts == ["holds", "holds", "undecided", "undecided"]
    assert "percentiles move" not in _prose(runs)["findings"]


def test_findings_have_every_layer_start_and_measure(fig1_members) -> None:
    words = _prose(load(fig1_members))["findings"]
    assert "50 of 50 evaluated steps" in words
    assert "Algorithm 2's population statistics" in words
    assert words.count("| hidden3 |") == 3 + 2
