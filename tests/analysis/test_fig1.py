"""Figure 1's figures draw at any length; its claims follow the rules they state."""

from __future__ import annotations

import numpy as np
import pytest

from bn_repro.analysis import tables
from bn_repro.analysis.studies import fig1


def test_claims_on_made_up_runs(fig1_members) -> None:
    data = tables.load(fig1_members)
    found = {c.id: c for c in fig1.claims(data)}
    assert list(found) == [
        "final_accuracy_difference",
        "ahead_at_each_step_difference",
        "percentile_movement_unit_ratio",
        "percentile_movement_layer_ratio",
    ]
    a, b = fig1.paired_curves(data)
    assert a.shape == b.shape == (5, 50)
    final = found["final_accuracy_difference"]
    assert final.estimate == pytest.approx((b - a).to_numpy()[:, -1].mean())
    assert {c.n for c in found.values()} == {5}


def test_arms_turned_round_turn_the_verdicts(make_run) -> None:
    members = [make_run("mnist/baseline", s, top=0.98, pace=500) for s in range(5)]
    members += [make_run("mnist/bn", s, top=0.90, pace=500) for s in range(5)]
    found = fig1.claims(tables.load(members))
    assert [c.verdict for c in found[:2]] == ["does not hold"] * 2


def test_seeds_are_paired_and_those_of_one_arm_left_out(make_run) -> None:
    members = [make_run("mnist/baseline", s, steps=5_000) for s in (0, 1, 2)]
    members += [make_run("mnist/bn", s, steps=5_000) for s in (1, 2, 3)]
    a, b = fig1.paired_curves(tables.load(members))
    assert a.index.tolist() == b.index.tolist() == [1, 2]


@pytest.mark.parametrize("steps", [40, 3_000, 15_000, 50_000])
def test_figures_at_any_length(make_run, steps: int) -> None:
    arms, every = ("mnist/baseline", "mnist/bn"), max(1, min(1_000, steps // 10))
    members = [make_run(arm, s, steps=steps, eval_every=every) for arm in arms for s in range(2)]
    figures = fig1.figures(tables.load(members))
    assert list(figures) == ["figure1", "figure1_units", "figure1_layers"]
    for figure in figures.values():
        figure.draw_without_rendering()
    accuracy = figures["figure1"].axes[0]
    if steps == 50_000:
        assert accuracy.get_xlim() == (10_000, 50_000)
        assert accuracy.get_ylim() == (0.7, 1.0)
        assert accuracy.child_axes[0].get_xlim() == (0, 10_000)
    elif steps <= 10_000:
        assert accuracy.get_xlim() == (0, steps)
        assert not accuracy.child_axes


def test_one_scale_for_both_arms_and_it_holds_the_data(fig1_members) -> None:
    figure = fig1.figures(tables.load(fig1_members))["figure1"]
    panels = figure.axes[2:6]
    assert len({ax.get_ylim() for ax in panels}) == 1
    low, high = panels[0].get_ylim()
    assert low == -high
    assert high >= 2
    for ax in panels:
        for line in ax.lines:
            if line.get_linewidth() >= 1:  # percentiles; not each batch's, which are noise
                assert np.abs(np.asarray(line.get_ydata(), float)).max() <= max(high, 1)


def test_one_arm_or_one_seed_still_draws(make_run) -> None:
    data = tables.load([make_run("mnist/bn", 0, steps=12_000)])
    for figure in fig1.figures(data).values():
        figure.draw_without_rendering()
    assert {c.verdict for c in fig1.claims(data)} == {"undecided"}
    assert "1 seed" in fig1.findings(
        tables.load([make_run("mnist/bn", 1), make_run("mnist/baseline", 1)])
    )


def test_findings_tell_the_comparisons_that_fail(fig1_members) -> None:
    words = fig1.findings(tables.load(fig1_members))
    assert "Of these 36 comparisons 36 say that BN moves less, 0 that it moves more" in words
    assert "50 of 50 evaluated steps" in words
    assert "Algorithm 2's population statistics" in words
    assert words.count("| hidden3 |") == 3 + 2
