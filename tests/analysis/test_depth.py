"""Which depth still trains: verdicts from the test set, and what the layers see."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from analysis.reports import same_from_files, trained

from bn_repro.analysis import frames, report, results
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import depth, depth_layers, depth_runs
from bn_repro.analysis.studies.depth_layers import DEEPEST, NONLINEARITIES
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Member, Runs
from bn_repro.config.compose import compose

BASELINE, BN = "mnist/baseline", "mnist/bn"
DEPTHS, RATES, COMMON = (3, 20), (0.1, 1.0), 0.1
FRESH = tuple(range(10, 16))
Network = tuple[str, str, int]
Tops = Mapping[Network, tuple[float, float]]
"""Accuracy at the two rates, by network; the higher is at its own best."""
USUAL: Tops = {
    (BASELINE, "sigmoid", 3): (0.95, 0.96),
    (BASELINE, "sigmoid", 20): (0.113, 0.114),
    (BN, "sigmoid", 3): (0.96, 0.97),
    (BN, "sigmoid", 20): (0.95, 0.94),  # best at the common rate: its runs are of both blocks
    (BASELINE, "tanh", 3): (0.95, 0.97),
    (BASELINE, "tanh", 20): (0.94, 0.95),
    (BN, "tanh", 3): (0.96, 0.97),
    (BN, "tanh", 20): (0.95, 0.965),
}
Make = Callable[..., list[Member]]


@pytest.fixture
def make(make_run) -> Make:
    """``make(changed, ...)``: the study's runs, with the accuracies of USUAL but for ``changed``;
    ``own`` has the fresh seeds' of a network at its best rate, ``lost`` one that diverges."""

    def make(
        changed: Tops | None = None,
        *,
        own: Mapping[Network, Sequence[float]] | None = None,
        lost: Network | None = None,
        traced: bool = False,
    ) -> list[Member]:
        members: list[Member] = []
        for network, tops in {**USUAL, **(changed or {})}.items():
            experiment, nonlinearity, layers = network
            for place, (rate, top) in enumerate(zip(RATES, tops, strict=True)):
                keys = {"model.nonlinearity": nonlinearity, "model.depth": layers}
                varied: dict[str, Any] = keys | {"optimizer.lr": rate}
                name = f"{nonlinearity[0]}{layers}r{100 * rate:g}"
                how = {"steps": 500, "eval_every": 250, "pace": 1, "top": top, "traces": False}
                tried = {"id": f"h{name}", "varied": varied | {"data.held_out": 10_000}}
                members.append(make_run(experiment, 0, **how, **tried, split="val", blocks="rates"))
                best = place == int(np.argmax(tops))
                blocks = [b for b, asks in (("common", rate == COMMON), ("best", best)) if asks]
                how |= {"id": f"f{name}", "varied": varied, "blocks": "+".join(blocks)}
                how |= {"traces": traced, "sites": [f"hidden{i + 1}" for i in range(layers)]}
                how |= {"state": "diverged" if lost == network and best else "completed"}
                for number, seed in enumerate(FRESH if blocks else ()):
                    given = (own or {}).get(network) if best else None
                    how["top"] = given[number] if given else top
                    members.append(make_run(experiment, seed, **how))
        return members

    return make


def _runs(members: list[Member]) -> Runs:
    return load(members, name="depth")


def _verdicts(members: list[Member]) -> dict[str, str]:
    return {claim.id: claim.verdict for claim in depth.claims(_runs(members))}


def _findings(runs: Runs) -> str:
    return Prose("depth", depth.STUDY, runs, list(depth.claims(runs)))["findings"]


# --- claims ---------------------------------------------------------------------------------------


def test_claims(make: Make) -> None:
    found = {claim.id: claim for claim in depth.claims(_runs(make()))}
    larger = {id: found.pop(id) for id in list(found) if "larger_scale" in id}
    assert {id: claim.verdict for id, claim in found.items()} == {
        "sigmoid_20_layers_own_best_rate_difference": "holds",
        "tanh_20_layers_own_best_rate_difference": "does not hold",
        "sigmoid_20_layers_common_rate_difference": "holds",
        "tanh_20_layers_common_rate_difference": "does not hold",
        "sigmoid_greatest_depth_ratio": "holds",
        "tanh_greatest_depth_ratio": "not testable",
        "sigmoid_lost_with_depth_difference": "holds",
        "tanh_lost_with_depth_difference": "holds",
    }
    assert {claim.n for claim in found.values()} == {6}
    assert {claim.n for claim in larger.values()} == {0}
    tanh = found["tanh_20_layers_own_best_rate_difference"]
    assert tanh.reason == "it trains without BN too; depends on the initial scale"
    deepest = found["tanh_greatest_depth_ratio"]
    assert deepest.reason == "both train at the greatest depth tried"
    gap = found["sigmoid_20_layers_own_best_rate_difference"].quantity.interval
    assert gap.estimate == pytest.approx(0.95 - 0.114, abs=0.01)
    ratio = found["sigmoid_greatest_depth_ratio"].quantity.interval
    assert ratio.estimate == pytest.approx(20 / 3)
    lost = found["tanh_lost_with_depth_difference"].quantity.interval
    assert lost.estimate == pytest.approx((0.97 - 0.95) - (0.97 - 0.965), abs=0.004)


def test_a_larger_initial_scale_is_judged_apart(make: Make) -> None:
    """From it no tanh network of 20 layers trains without BN."""
    members = []
    for member in make({(BASELINE, "tanh", 20): (0.1, 0.11)}):
        blocks = {"best": "best at 0.3", "rates": "rates at 0.3"}.get(member.blocks.split("+")[-1])
        varied = member.varied | {"model.init_std": 0.3}
        members += [replace(member, varied=varied, blocks=blocks)] if blocks else []
    found = {claim.id: claim.verdict for claim in depth.claims(_runs(members))}
    for nonlinearity in NONLINEARITIES:
        assert found[f"{nonlinearity}_20_layers_larger_scale_difference"] == "holds"
        assert found[f"{nonlinearity}_greatest_depth_larger_scale_ratio"] == "holds"
        assert found[f"{nonlinearity}_20_layers_own_best_rate_difference"] == "undecided"
    axes = depth.figures(_runs(members))["figure_depth"].axes
    assert [ax.get_title(loc="left").split("  ")[1] for ax in axes[2:]] == [
        "sigmoid, initial scale 0.3",
        "tanh, initial scale 0.3",
    ]


def test_the_common_rate_and_the_best_are_judged_apart(make: Make) -> None:
    found = _verdicts(make({(BASELINE, "sigmoid", 20): (0.11, 0.96)}))
    assert found["sigmoid_20_layers_common_rate_difference"] == "holds"
    assert found["sigmoid_20_layers_own_best_rate_difference"] == "does not hold"


def test_one_seed_that_trains_leaves_it_undecided(make: Make) -> None:
    found = _verdicts(make(own={(BASELINE, "sigmoid", 20): (0.11, 0.95, 0.95, 0.95, 0.95, 0.95)}))
    assert found["sigmoid_20_layers_own_best_rate_difference"] == "undecided"


def test_deeper_without_bn_does_not_hold(make: Make) -> None:
    found = _verdicts(make({(BN, "tanh", 20): (0.7, 0.8)}))
    assert found["tanh_greatest_depth_ratio"] == "does not hold"
    assert found["tanh_lost_with_depth_difference"] == "does not hold"


def test_a_diverged_run_counts_as_chance(make: Make) -> None:
    network = (BASELINE, "tanh", 20)
    runs = _runs(make(lost=network))
    (without, _) = depth_runs.paired(runs, "best", "tanh", [20])
    assert without[20].tolist() == [0.1] * 6
    found = {claim.id: claim.verdict for claim in depth.claims(runs)}
    assert found["tanh_20_layers_own_best_rate_difference"] == "holds"


def test_the_greatest_depth() -> None:
    top1 = np.array([[0.95, 0.95], [0.95, 0.7], [0.2, 0.1]])
    assert depth_runs.greatest_depth((3, 5, 10), top1) == 3  # the mean at 5 is below
    resampled = np.stack([top1, top1[:, [0, 0]]], axis=1)
    assert depth_runs.greatest_depth((3, 5, 10), resampled).tolist() == [3, 5]
    assert depth_runs.greatest_depth((3, 5), np.zeros((2, 3))) == 0


def test_where_no_depth_trains_the_ratio_has_no_bound(make: Make) -> None:
    never = {(BASELINE, "sigmoid", layers): (0.1, 0.11) for layers in DEPTHS}
    found = {claim.id: claim for claim in depth.claims(_runs(make(never)))}
    ratio = found["sigmoid_greatest_depth_ratio"]
    assert (ratio.quantity.interval.estimate, ratio.verdict) == (math.inf, "holds")
    assert str(ratio.quantity) == "not reached by the median run of the baseline"


# --- traces and figures ---------------------------------------------------------------------------


@pytest.fixture
def deep(make_run) -> Callable[..., Runs]:
    """The four deepest networks' runs at their own best rates, with traces; ``layers``: fewer."""

    def deep(layers: int = DEEPEST, **how: Any) -> Runs:
        keys = {"model.depth": layers, "optimizer.lr": COMMON}
        how = {"steps": 2_000, "eval_every": 1_000, "blocks": "best"} | how
        how |= {"sites": [f"hidden{i + 1}" for i in range(layers)]}
        members = [
            make_run(experiment, seed, id=f"d{n}", varied=keys | {"model.nonlinearity": n}, **how)
            for n, experiment, seed in product(NONLINEARITIES, (BASELINE, BN), FRESH[:2])
        ]
        return _runs(members)

    return deep


def test_few_traces_are_kept_and_kept_once_they_stay(deep, make_run) -> None:
    final = deep()
    varied = final.members[0].varied | {"data.held_out": 10_000}
    tried = make_run(BN, 0, id="tried", varied=varied, blocks="rates", steps=2_000)
    runs = _runs([*final.members, tried])
    kept = depth_layers.keep(runs).traces
    assert set(kept["id"]) == {"dsigmoid", "dtanh"}  # none of those on held-out images
    assert not set(kept["unit"].dropna())
    steps = set(kept["step"])
    assert {1, 2, 1500, 2000} <= steps
    assert steps <= {*depth_layers.KEPT_STEPS, 2000}
    assert len(steps) < len(set(runs.traces["step"]))
    assert {"p15", "std", "saturated", "grad_norm"} <= set(kept)
    runs.traces = kept
    assert depth_layers.keep(runs).traces.equals(kept)


def test_of_other_depths_the_first_step_and_the_last_are_kept(deep) -> None:
    kept = depth_layers.keep(deep(3, steps=1_750)).traces
    assert set(kept["step"]) == {1, 1_750}
    assert 1_750 not in depth_layers.KEPT_STEPS


def test_maps_of_the_deepest_networks(deep) -> None:
    runs = deep()
    maps = depth.figures(runs)["figure_depth_layers"]
    panels = [ax for ax in maps.axes if ax.get_label() != "<colorbar>"]
    assert len(panels) == 8
    for line in (panels[:4], panels[4:]):
        meshes = [ax.collections[0] for ax in line]
        assert len({mesh.norm for mesh in meshes}) == 1  # one scale for all networks
        sizes = {np.asarray(mesh.get_array()).shape for mesh in meshes}
        assert sizes == {(DEEPEST, len(set(runs.traces["step"])))}
    least = runs.traces.groupby(["experiment", "site", "step"])["grad_norm"].median().min()
    assert panels[4].collections[0].norm.vmin <= least  # the colours reach as far as the data


def test_a_map_has_the_median_over_seeds_and_bears_gaps(deep) -> None:
    runs = deep()
    runs.traces.loc[runs.traces["site"] == "hidden7", ["grad_norm", "saturated"]] = [0.0, np.nan]
    drawn = depth.figures(runs)["figure_depth_layers"]
    rows = next(t.rows for t in depth_layers.deepest(runs) if t[:2] == ("tanh", MNIST_ARMS[1]))
    first = frames.select(rows, step=1, layer=3)["saturated"]
    shown = np.ma.filled(np.ma.asarray(drawn.axes[3].collections[0].get_array()), np.nan)
    assert len(first) == 2
    assert shown.reshape(DEEPEST, -1)[2, 0] == pytest.approx(first.median())
    assert np.isnan(shown.reshape(DEEPEST, -1)[6]).all()
    drawn.draw_without_rendering()


def test_every_seed_is_drawn(make: Make) -> None:
    runs = _runs(make(own={(BN, "tanh", 20): (0.91, 0.95, 0.97, 0.93, 0.96, 0.94)}, traced=True))
    drawn = depth.figures(runs)
    assert list(drawn) == ["figure_depth", "figure_depth_layers", "figure_depth_ends"]
    left, right = drawn["figure_depth"].axes
    alone = [line for line in right.lines if line.get_linestyle() == "None"]
    points = np.concatenate([np.asarray(line.get_ydata()) for line in alone]).tolist()
    assert len(points) == 2 * 2 * 2 * 6  # arms, depths, blocks, seeds
    for value in depth_runs.paired(runs, "best", "tanh", [20])[1][20]:
        assert value in points
    assert {text.get_text() for text in left.texts} >= {"1", "0.1", "chance"}
    assert any(np.allclose(line.get_ydata(), depth_runs.TRAINS) for line in left.lines)
    ends = drawn["figure_depth_ends"]
    assert [ax.get_yscale() for ax in ends.axes] == ["linear", "linear", "log", "log"]
    thin = [line for line in ends.axes[0].lines if line.get_marker() == "None"]
    assert len(thin) == 2 * 2 * 6  # arms, first and last step, seeds


# --- findings -------------------------------------------------------------------------------------


def test_findings_have_every_network(make: Make) -> None:
    words = _findings(_runs(make()))
    assert (
        "- **sigmoid**: of 3 and 20 layers, the most that still train are 20 with BN and 3" in words
    )
    rows = [line for line in words.splitlines() if line.startswith("| sigmoid | 20 | without BN |")]
    assert "| 1 (highest tried) | 11.4 %" in rows[0]
    assert rows[0].count("| no |") == 2
    rows = [line for line in words.splitlines() if line.startswith("| tanh | 3 | with BN |")]
    assert rows[0].count("| **yes** |") == 2


def test_layers_in_numbers(make: Make) -> None:
    runs = _runs(make(traced=True))
    sites = runs.traces["site"].str.removeprefix("hidden").astype(int).to_numpy()
    baseline = (runs.traces["experiment"] == BASELINE).to_numpy()
    sigmoid = runs.traces["id"].str.startswith("fs").to_numpy()
    slope = np.where(baseline & sigmoid, 0.25, np.where(baseline, 0.9, 1.1))
    runs.traces["grad_norm"] = 0.01 * slope ** (20.0 - sites)
    runs.traces["saturated"] = np.where(baseline & ~sigmoid, 0.01 * sites, 0.0)
    without, with_bn = depth_layers.of_deepest(runs)["tanh"]
    assert without == pytest.approx(
        {"at_first": 0.9**19, "at_last": 0.9**19, "a_layer": 0.9}
        | {"bottom": 0.01, "top": 0.2, "most": 0.2, "mean": 0.105}
    )
    assert with_bn["a_layer"] == pytest.approx(1.1)
    words = _findings(runs)
    assert "factor of 0.25 from each layer to the one below without BN, 1.10 with" in words
    assert "up to 20.0 % of a layer's inputs are saturated without BN, 0.0 % with" in words
    assert words.count("not stuck in saturation") == 1  # tanh trains
    runs.traces["saturated"] = 0.3
    assert "not stuck in saturation" not in _findings(runs)


def test_other_initial_scales_are_shown_and_change_no_verdict(make: Make, make_run) -> None:
    members = make()
    before = _verdicts(members)
    for std, arm in product((0.01, 0.3), (BASELINE, BN)):
        varied = {"model.nonlinearity": "tanh", "model.depth": DEEPEST, "optimizer.lr": 1.0}
        how = {"steps": 500, "eval_every": 250, "pace": 1, "traces": False, "blocks": "scales"}
        how |= {"varied": varied | {"model.init_std": std}, "id": f"s{100 * std:g}"}
        top = 0.93 if arm == BN else 0.2
        members += [make_run(arm, seed, top=top, **how) for seed in FRESH]
    assert _verdicts(members) == before
    lines = [line for line in _findings(_runs(members)).splitlines() if line.startswith("| 0.")]
    assert [line.split(" | ")[0] for line in lines] == ["| 0.01", "| 0.1", "| 0.3"]
    assert "20.0 %" in lines[0]
    assert "93.0 %" in lines[2]


# --- the report -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("drawn_once")
def test_a_study_half_done_reports(make: Make, tmp_path: Path) -> None:
    members = [m if m.seed < 10 else replace(m, directory=None) for m in make()]  # no fresh seeds
    found = report.write("depth", members, tmp_path / "out")
    assert [claim.verdict for claim in found.claims] == ["undecided"] * 12
    assert {claim.n for claim in found.claims} == {0}
    words = (tmp_path / "out/README.md").read_text()
    assert "| sigmoid | 20 | with BN | - | - | - | - | - |" in words
    assert (tmp_path / "out/figure_depth.svg").exists()
    assert not (tmp_path / "out/figure_depth_layers.svg").exists()


@pytest.mark.usefixtures("drawn_once")
def test_the_report_is_whole_and_repeats(make: Make, tmp_path: Path) -> None:
    members, out = make(traced=True), tmp_path / "out"
    report.write("depth", members, out)
    drawn = {path.stem for path in out.glob("*.svg")}
    assert drawn == {"figure_depth", "figure_depth_layers", "figure_depth_ends"}
    kept = results.read(out).traces
    assert not set(kept["unit"].dropna())
    assert set(kept["seed"]) == set(FRESH)
    same_from_files("depth", members, out)


@pytest.mark.usefixtures("drawn_once")
def test_the_study_at_smoke_scale(tmp_path: Path) -> None:
    """Two depths and one rate of it: each block is trained, and the report has the real traces."""
    overrides = ["scale=smoke", "train.steps=2", "train.population_batches=2"]
    overrides.append(f"runs={tmp_path / 'runs'}")
    study = compose(["study=depth", *overrides]).study
    few = {*NONLINEARITIES, 10_000, 3, DEEPEST, 0.01, 0.1, 0.3}
    blocks = [
        {
            key: [v for v in asked if v in few] if isinstance(asked, list) and "." in key else asked
            for key, asked in block.items()
        }
        for block in study.blocks
    ]
    members = trained(replace(study, blocks=blocks), overrides)
    found = report.write("depth", members, tmp_path / "out")
    assert found.warnings == []
    assert [claim.verdict for claim in found.claims] == ["undecided"] * 12
    assert {claim.n for claim in found.claims} == {0, 1}  # no depth trains: no ratio of depths
    traces: pd.DataFrame = results.read(tmp_path / "out").traces
    assert {f"hidden{i}" for i in range(1, DEEPEST + 1)} == set(traces["site"])
    assert set(traces["step"]) == {1, 2}
    assert (tmp_path / "out/figure_depth_layers.svg").exists()
