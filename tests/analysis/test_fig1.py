"""Figure 1's figures draw at any length; its claims follow the rules they state."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import results
from bn_repro.analysis.arms import arms_table
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import fig1
from bn_repro.analysis.tables import Runs

MEASURES = ("percentile_movement", "change_per_doubling", "drift")


@pytest.fixture
def detailed(make_run) -> Runs:
    """Seeds 0 to 4 with all units and probes, 10 to 15 without; to step 16,000."""
    arms, seeds = ("mnist/baseline", "mnist/bn"), (*range(5), *range(10, 16))
    return load([make_run(a, s, steps=16_000, probes=s < 5) for a in arms for s in seeds])


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
        *(f"{name}_{part}_ratio" for name in MEASURES[1:] for part in ("unit", "layer")),
        *(f"inference_{name}_{part}_ratio" for name in MEASURES for part in ("unit", "layer")),
    ]
    without, with_bn = fig1.curves(runs)
    assert without.shape == with_bn.shape == (5, 50)
    final = found["final_accuracy_difference"].quantity.interval
    assert final.estimate == pytest.approx((with_bn - without).to_numpy()[:, -1].mean())
    judged = [claim for claim in found.values() if claim.n]  # these are not the seeds of the others
    assert [claim.id for claim in judged] == list(found)[:4]
    assert {claim.n for claim in judged} == {5}
    assert {claim.verdict for claim in judged} == {"holds"}  # as the fixture was made


def test_the_registered_claims_have_their_own_seeds_and_rows(detailed: Runs) -> None:
    found = {claim.id: claim for claim in fig1.claims(detailed)}
    assert found["percentile_movement_layer_ratio"].n == 11
    for name, part in product(MEASURES, ("unit", "layer")):
        own = f"{name}_{part}_ratio"
        assert found[f"inference_{own}"].n == 5  # seeds 0 to 4 have probes
        if name != "percentile_movement":
            assert found[own].n == 6  # seeds 10 to 15
            assert "Seeds 10 to 29" in found[own].computed
            assert "depends on the measure" in found[own].reason
        assert "absolute: " in str(found[f"inference_{own}"].quantity)
        assert "inference mode" in found[f"inference_{own}"].computed
    assert found["change_per_doubling_layer_ratio"].verdict == "holds"  # as the fixture was made
    assert found["inference_change_per_doubling_layer_ratio"].verdict == "holds"


@pytest.mark.parametrize(("factor", "verdict"), [(0.1, "holds"), (10, "does not hold")])
def test_inference_mode_is_judged_by_its_own_rows(
    detailed: Runs, factor: float, verdict: str
) -> None:
    probes = detailed.probes.copy()
    bn = (probes["experiment"] == "mnist/bn").to_numpy()
    moving = [[-1.0], [0.0], [1.0]] + 0.3 * np.log(probes["step"].to_numpy(float))
    probes.loc[~bn, ["p15", "p50", "p85"]] = moving.T[~bn]
    less = [[-1.0], [0.0], [1.0]] + 0.3 * factor * np.log(probes["step"].to_numpy(float))
    probes.loc[bn, ["p15", "p50", "p85"]] = less.T[bn]
    found = {claim.id: claim for claim in fig1.claims(replace(detailed, probes=probes))}
    for name, part in product(MEASURES, ("unit", "layer")):
        claim = found[f"inference_{name}_{part}_ratio"]
        assert claim.verdict == verdict
        assert claim.quantity.interval.estimate == pytest.approx(factor)
    other = {claim.id: claim for claim in fig1.claims(detailed)}
    for id in list(found)[:8]:
        assert found[id].quantity.interval == other[id].quantity.interval


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
    assert {claim.n for claim in fig1.claims(load(members))} == {2, 0}


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
    papers, panels = (figure.subfigs[1].axes[i] for i in (slice(2), slice(2, 8)))
    for ax in papers:
        assert (ax.get_xlim(), ax.get_ylim()) == ((10_000, 50_000), (-2, 2))
        assert ax.get_xscale() == "linear"
        assert len(ax.lines) == 6
    assert {ax.get_xlim() for ax in panels} == {(1, 50_000)}
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
    assert verdicts == ["holds", "holds", *["undecided"] * 12]
    assert "percentiles move" not in _prose(runs)["findings"]


def test_findings_have_every_layer_start_and_measure(fig1_members) -> None:
    words = _prose(load(fig1_members))["findings"]
    assert "50 of 50 evaluated steps" in words
    assert "Algorithm 2's population statistics" in words
    assert words.count("| hidden3 |") == 3 + 2


def test_inference_mode_and_all_units_are_drawn_where_they_are_known(detailed: Runs) -> None:
    figures = fig1.figures(detailed)
    assert list(figures)[3:] == ["figure1_inference", "figure1_all_units"]
    for name in list(figures)[3:]:
        figures[name].draw_without_rendering()
    modes, units = (figures[name].axes for name in list(figures)[3:])
    assert len({ax.get_ylim() for ax in modes[:4]}) == len({ax.get_ylim() for ax in modes[4:]}) == 1
    assert [len(ax.lines) for ax in modes[4:]] == [5 * 3 + 3] * 4  # five seeds and their median
    assert [len(units[i].lines) for i in (0, 1, 3, 4)] == [4] * 4  # of one seed
    short = replace(detailed, probes=detailed.probes.loc[detailed.probes["step"] < 2_000])
    assert list(fig1.figures(short))[3:] == ["figure1_inference"]
    assert "All units" not in _prose(short)["findings"]


def test_findings_on_the_registered_measures(detailed: Runs) -> None:
    words = _prose(detailed)["findings"]
    assert words.count("| mini-batches | 6 |") == words.count("inference | 5 |") == 3
    judged = r"Claims written down before their runs, judged {}: \d of {} hold"
    assert re.search(judged.format(r"by mini-batch \(seeds 10 to 29\)", 4), words)
    assert re.search(judged.format(r"in inference mode \(seeds 0 to 9\)", 6), words)
    assert "of a seed's median unit" in words
    assert "| from step | 500 | 1,000 | 2,000 | 4,000 | 8,000 |" in words


def test_what_is_recorded_of_some_seeds_is_no_setting(make_run) -> None:
    more = {"train.trace_units": ["hidden3"], "model.depth": 3}
    members = [make_run("mnist/bn", s, varied=more if s else {"model.depth": 3}) for s in (0, 1)]
    members += [make_run("mnist/bn", 0, id="deeper", varied={"model.depth": 4})]
    table = arms_table(load(members))
    assert [row[:3] for row in table] == [
        ["experiment", "model.depth", "seeds"],
        ["`mnist/bn`", "3", "2"],
        ["`mnist/bn`", "4", "1"],
    ]


def test_what_is_kept_is_all_that_claims_and_figures_see(detailed: Runs) -> None:
    kept = fig1.STUDY.keep(detailed)  # pyright: ignore[reportOptionalCall]
    again = fig1.STUDY.keep(kept)  # pyright: ignore[reportOptionalCall]
    for name in ("traces", "probes"):
        rows = getattr(kept, name)
        pd.testing.assert_frame_equal(getattr(again, name), rows)
        others = rows.loc[rows["unit"] > 0]
        assert set(others["step"]) == {1_000, *range(2_000, 16_001, 2_000)}
        assert set(others["seed"]) == set(range(5))
        first = getattr(detailed, name).loc[lambda rows: ~(rows["unit"] > 0) & (rows["seed"] < 10)]
        pd.testing.assert_frame_equal(rows.loc[~(rows["unit"] > 0) & (rows["seed"] < 10)], first)
    blank = kept.traces.loc[kept.traces["unit"] > 0, ["mean", "std", "saturated", "grad_norm"]]
    assert np.isnan(blank.to_numpy(float)).all()
    assert not np.isnan(
        detailed.traces["grad_norm"].to_numpy(float)
    ).any()  # what was given is as it was
    assert list(fig1.claims(kept)) == list(fig1.claims(detailed))


def test_of_later_seeds_the_last_layers_percentiles_are_kept(make_run) -> None:
    both = load([make_run(arm, s) for arm in ("mnist/baseline", "mnist/bn") for s in (9, 10)])
    kept = fig1.STUDY.keep(both).traces  # pyright: ignore[reportOptionalCall]
    early, late = (kept.loc[kept["seed"] == seed] for seed in (9, 10))
    assert set(early["site"]) == {"hidden1", "hidden2", "hidden3"}
    assert set(late["site"]) == {"hidden3"}
    assert late["saturated"].isna().all()
    assert late[["p15", "p50", "p85"]].notna().all(axis=None)
    assert early["saturated"].notna().all()


def test_probes_are_read_back_and_rewritten_to_the_byte(detailed: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with_probes = fig1.STUDY.keep(detailed)  # pyright: ignore[reportOptionalCall]
    results.write(out / results.RUNS, results.to_csv(detailed.runs, results.RUNS))
    text = results.to_csv(with_probes.probes, results.PROBES)
    results.write(out / results.PROBES, text)
    packed = (out / results.PROBES).read_bytes()
    assert packed[4:8] == bytes(4)  # no time
    found = results.read(out)
    assert list(found.probes)[:7] == ["experiment", "id", "seed", "step", "probe", "site", "unit"]
    assert set(found.probes["probe"]) == {"activations"}
    gone = [replace(member, directory=None) for member in detailed.members]
    merged = results.merge(found, load(gone), gone)
    assert results.to_csv(merged.probes, results.PROBES) == gzip.decompress(packed).decode()
    one = merged.where(experiment="mnist/bn", seed=3)
    assert set(zip(one.probes["experiment"], one.probes["seed"], strict=True)) == {("mnist/bn", 3)}
