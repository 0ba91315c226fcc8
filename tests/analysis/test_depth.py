"""Which depth still trains: rates from held-out images, verdicts from the test set, maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bn_repro.analysis import grids, report, results, tables
from bn_repro.analysis.studies import depth
from bn_repro.analysis.studies.depth import (
    COMMON,
    DEEPEST,
    DEPTH,
    NONLINEARITIES,
    NONLINEARITY,
    RATE,
    TRAINS,
)
from bn_repro.analysis.studies.fig1 import ARMS, BASELINE, BN
from bn_repro.analysis.tables import Member, StudyData
from bn_repro.config.compose import compose
from bn_repro.sweep.study import accuracy_of, expand
from bn_repro.training import activations
from bn_repro.training.run import run

DEPTHS, RATES = (3, 20), (0.1, 1.0)
FRESH = (10, 11, 12)
Tops = Mapping[tuple[str, str, int], tuple[float, float]]
"""Accuracy at the two rates, by network."""
Network = tuple[str, str, int]
USUAL: Tops = {
    (BASELINE, "sigmoid", 3): (0.95, 0.96),
    (BASELINE, "sigmoid", 20): (0.113, 0.114),
    (BN, "sigmoid", 3): (0.96, 0.97),
    (BN, "sigmoid", 20): (0.95, 0.94),  # best at the common rate: its runs are shared
    (BASELINE, "tanh", 3): (0.95, 0.97),
    (BASELINE, "tanh", 20): (0.94, 0.95),
    (BN, "tanh", 3): (0.96, 0.97),
    (BN, "tanh", 20): (0.95, 0.965),
}
Make = Callable[..., list[Member]]


@pytest.fixture
def make(make_run) -> Make:
    """``make(changed, ...)``: the study's runs, with the accuracies of USUAL but for ``changed``;
    ``own`` has the fresh seeds' of a network at its best rate, ``lost`` a rate that diverges."""

    def make(
        changed: Tops | None = None,
        *,
        own: Mapping[Network, tuple[float, float, float]] | None = None,
        fresh: tuple[int, ...] = FRESH,
        lost: tuple[Network, float] | None = None,
        traced: bool = False,
    ) -> list[Member]:
        members: list[Member] = []
        for network, tops in {**USUAL, **(changed or {})}.items():
            experiment, nonlinearity, layers = network
            best = RATES[int(np.argmax(tops))]
            for rate, top in zip(RATES, tops, strict=True):
                varied: dict[str, Any] = {NONLINEARITY: nonlinearity, DEPTH: layers, RATE: rate}
                name = f"{nonlinearity[0]}{layers}r{100 * rate:g}"
                how = {"steps": 500, "eval_every": 250, "pace": 1, "top": top, "traces": False}
                how["state"] = "diverged" if lost == (network, rate) else "completed"
                for seed in (0, 1):
                    tried = {"id": f"h{name}", "varied": {**varied, grids.HELD_OUT: 10_000}}
                    members.append(make_run(experiment, seed, **how, **tried, split="val"))
                how |= {"state": "completed", "id": f"f{name}", "varied": varied}
                how |= {"traces": traced, "sites": [f"hidden{i + 1}" for i in range(layers)]}
                for place, seed in enumerate(fresh if rate in (COMMON, best) else ()):
                    given = (own or {}).get(network) if rate == best else None
                    how["top"] = given[place] if given else top
                    members.append(make_run(experiment, seed, **how))
        return members

    return make


def _data(members: list[Member]) -> StudyData:
    return tables.load(members, name="depth")


def _verdicts(members: list[Member]) -> dict[str, str]:
    return {claim.id: claim.verdict for claim in depth.claims(_data(members))}


# --- the study ------------------------------------------------------------------------------------


def test_the_module_and_the_study_agree() -> None:
    config = compose(["study=depth"]).study
    rates, common, best, scales = config.blocks
    for block in (rates, common, best):
        assert tuple(block["experiment"]) == tuple(ARMS)
        assert tuple(block[NONLINEARITY]) == NONLINEARITIES
        assert max(block[DEPTH]) == DEEPEST
    assert (common[RATE], best[RATE]) == ([COMMON], {"best_of": "rates"})
    assert COMMON in rates[RATE]
    assert grids.HELD_OUT in rates
    assert grids.HELD_OUT not in {**common, **best}
    assert set(rates["seed"]).isdisjoint(best["seed"])
    assert common["seed"] == best["seed"] == scales["seed"]
    assert compose(["experiment=mnist/bn"]).model.init_std == depth.USUAL_STD
    assert depth.USUAL_STD not in scales[depth.STD]
    assert depth.SATURATED == {"sigmoid": activations.SATURATED, "tanh": activations.SATURATED_TANH}


@pytest.mark.usefixtures("drawn_once")
def test_the_study_at_smoke_scale(tmp_path: Path) -> None:
    words = ["scale=smoke", "train.steps=2", "train.population_batches=2"]
    words.append(f"runs={tmp_path / 'runs'}")
    config, whole, planned = compose(["study=depth", *words]), False, []
    while not whole:
        planned, whole = expand(config.study, words, accuracy_of)
        assert {run(p.config, log=lambda line: None).state for p in planned} == {"completed"}
    members = [Member(*p.key, p.varied, p.directory) for p in planned]
    found = report.write("depth", members, tmp_path / "out")
    assert found.warnings == []
    assert [claim.verdict for claim in found.claims] == ["undecided"] * 8
    assert {claim.n for claim in found.claims} == {1}
    data = results.read(tmp_path / "out")
    assert {f"hidden{i}" for i in range(1, DEEPEST + 1)} == set(data.traces["site"])
    assert set(data.traces["step"]) == {1, 2}
    assert (tmp_path / "out/figure_depth_layers.svg").exists()


# --- rates ----------------------------------------------------------------------------------------


def test_rates_are_chosen_on_held_out_images(make: Make) -> None:
    data = _data(make())
    best = depth.trained(data, best=True)
    assert {t.rate for key, t in best.items() if key[2] == 3} == {1.0}
    assert best[BN, "sigmoid", 20].rate == COMMON
    common = depth.trained(data, best=False)
    assert {t.rate for t in common.values()} == {COMMON}
    assert best[BN, "sigmoid", 20] == common[BN, "sigmoid", 20]  # the same runs
    assert all(sorted(t.top1) == list(FRESH) for t in (best | common).values())
    assert best[BASELINE, "tanh", 20].mean == pytest.approx(0.95, abs=0.003)


def test_a_diverged_run_is_never_the_best_nor_above_chance(make: Make) -> None:
    network = (BASELINE, "sigmoid", 20)
    chosen = depth.best_rates(_data(make({network: (0.05, 0.06)}, lost=(network, 1.0))))
    assert chosen[network] == 0.1  # 0, not chance, stands for the diverged


def test_a_rate_is_not_chosen_before_its_grid_is_whole(make: Make) -> None:
    members = make()
    waiting = next(m for m in members if m.experiment == BN and m.seed == 1)
    rest = [m if m is not waiting else Member(*m.key, m.varied) for m in members]
    chosen = depth.best_rates(_data(rest))
    assert len(chosen) == 7
    assert (BN, waiting.varied[NONLINEARITY], waiting.varied[DEPTH]) not in chosen


# --- claims ---------------------------------------------------------------------------------------


def test_claims(make: Make) -> None:
    data = _data(make())
    found = {claim.id: claim for claim in depth.claims(data)}
    assert {id: claim.verdict for id, claim in found.items()} == {
        "sigmoid_20_layers_own_best_rate_difference": "holds",
        "tanh_20_layers_own_best_rate_difference": "does not hold",  # the baseline trains too
        "sigmoid_20_layers_common_rate_difference": "holds",
        "tanh_20_layers_common_rate_difference": "does not hold",
        "sigmoid_greatest_depth_ratio": "holds",
        "tanh_greatest_depth_ratio": "undecided",  # both at the end of what was tried
        "sigmoid_lost_with_depth_difference": "holds",
        "tanh_lost_with_depth_difference": "holds",
    }
    assert {claim.n for claim in found.values()} == {3}
    gap = found["sigmoid_20_layers_own_best_rate_difference"]
    assert gap.estimate == pytest.approx(0.95 - 0.114, abs=0.01)
    assert found["sigmoid_greatest_depth_ratio"].estimate == pytest.approx(20 / 3)
    lost = found["tanh_lost_with_depth_difference"]
    assert lost.estimate == pytest.approx((0.97 - 0.95) - (0.97 - 0.965), abs=0.004)


@pytest.mark.parametrize(
    ("without", "with_bn", "judged"),
    [
        ((0.11, 0.12, 0.113), (0.95, 0.96, 0.95), "holds"),
        ((0.95, 0.96, 0.95), (0.97, 0.98, 0.97), "does not hold"),  # both train
        ((0.11, 0.12, 0.11), (0.80, 0.81, 0.82), "does not hold"),  # neither does
        ((0.95, 0.96, 0.95), (0.11, 0.12, 0.11), "does not hold"),
        ((0.11, 0.95, 0.11), (0.95, 0.96, 0.95), "undecided"),  # one seed trains
        ((0.11, 0.12, 0.11), (0.95, 0.85, 0.95), "undecided"),
        ((0.11, 0.12), (0.95, 0.96), "undecided"),  # too few
        ((), (), "undecided"),
    ],
)
def test_trainable(without, with_bn, judged: str) -> None:
    gap, found = depth.trainable(np.array(without), np.array(with_bn))
    assert found == judged
    assert gap.n == len(without)


def test_the_common_rate_and_the_best_are_judged_apart(make: Make) -> None:
    found = _verdicts(make({(BASELINE, "sigmoid", 20): (0.11, 0.96)}))
    assert found["sigmoid_20_layers_common_rate_difference"] == "holds"
    assert found["sigmoid_20_layers_own_best_rate_difference"] == "does not hold"


def test_the_greatest_depth() -> None:
    top1 = np.array([[0.95, 0.95], [0.95, 0.7], [0.2, 0.1]])
    assert depth.greatest_depth((3, 5, 10), top1) == 3  # the mean at 5 is below
    resampled = np.stack([top1, top1[:, [0, 0]]], axis=1)
    assert depth.greatest_depth((3, 5, 10), resampled).tolist() == [3, 5]
    assert depth.greatest_depth((3, 5), np.zeros((2, 3))) == 0


def test_where_no_depth_trains_the_ratio_has_no_bound(make: Make) -> None:
    never = {(BASELINE, "sigmoid", layers): (0.1, 0.11) for layers in DEPTHS}
    found = {claim.id: claim for claim in depth.claims(_data(make(never)))}
    ratio = found["sigmoid_greatest_depth_ratio"]
    assert (ratio.estimate, ratio.verdict) == (math.inf, "holds")


@pytest.mark.usefixtures("drawn_once")
def test_a_study_half_done_reports(make: Make, tmp_path: Path) -> None:
    members = [m if m.seed < 10 else Member(*m.key, m.varied) for m in make()]  # no fresh seeds
    found = report.write("depth", members, tmp_path / "out")
    assert [claim.verdict for claim in found.claims] == ["undecided"] * 8
    assert {claim.n for claim in found.claims} == {0}
    told = (tmp_path / "out/README.md").read_text()
    assert "Whether BN makes sigmoid networks of 20 layers trainable is not measured yet" in told
    assert "| sigmoid | 20 | with BN | 0.1 (lowest tried) | - | - | - | - | - | - |" in told
    assert (tmp_path / "out/figure_depth.svg").exists()
    assert not (tmp_path / "out/figure_depth_layers.svg").exists()


# --- traces and figures ---------------------------------------------------------------------------


def _deep(make_run, depth_of: int = DEEPEST, **how: Any) -> list[Member]:
    """The four deepest networks' runs at the common rate, with traces; no rate is chosen."""
    sites = [f"hidden{i + 1}" for i in range(depth_of)]
    return [
        make_run(
            experiment,
            seed,
            id=f"d{nonlinearity}",
            varied={NONLINEARITY: nonlinearity, DEPTH: depth_of, RATE: COMMON},
            **{"steps": 2_000, "eval_every": 1_000, "sites": sites, **how},
        )
        for nonlinearity, experiment, seed in product(NONLINEARITIES, ARMS, FRESH[:2])
    ]


def test_few_traces_are_kept_and_kept_once_they_stay(make_run) -> None:
    members = _deep(make_run, 3)
    tried = make_run(BN, 0, id="tried", varied={**members[0].varied, grids.HELD_OUT: 10_000})
    data = _data([*members, tried])
    kept = depth.keep(data)
    assert set(kept["id"]) == {"dsigmoid", "dtanh"}  # none of those on held-out images
    assert not set(kept["unit"].dropna())
    steps = set(kept["step"])
    assert {1, 2, 1500, 2000} <= steps
    assert steps <= {*depth.KEPT_STEPS, 2000}
    assert len(steps) < len(set(data.traces["step"]))
    assert {"p15", "std", "saturated", "grad_norm"} <= set(kept)
    data.traces = kept
    assert depth.keep(data).equals(kept)


def test_the_last_step_is_kept_whatever_it_is(make_run) -> None:
    kept = depth.keep(_data(_deep(make_run, 3, steps=1_750)))
    assert max(kept["step"]) == 1_750 not in depth.KEPT_STEPS


def test_maps_of_the_deepest_networks(make_run) -> None:
    data = _data(_deep(make_run))
    drawn = depth.figures(data)
    assert list(drawn) == ["figure_depth", "figure_depth_layers"]  # no own best rates yet
    maps = drawn["figure_depth_layers"]
    panels = [ax for ax in maps.axes if ax.get_label() != "<colorbar>"]
    assert len(panels) == 8
    for line in (panels[:4], panels[4:]):
        meshes = [ax.collections[0] for ax in line]
        assert len({mesh.norm for mesh in meshes}) == 1  # one scale for both arms
        sizes = {np.asarray(mesh.get_array()).shape for mesh in meshes}
        assert sizes == {(DEEPEST, len(set(data.traces["step"])))}
    assert [ax.get_title("left").split("\n")[0] for ax in panels[:4]] == [
        *("sigmoid, without BN", "sigmoid, with BN", "tanh, without BN", "tanh, with BN")
    ]
    assert all(ax.get_xscale() == "log" for ax in panels)
    assert {"saturated share of inputs", "norm of their gradient"} == {
        ax.get_ylabel() for ax in maps.axes if ax.get_label() == "<colorbar>"
    }


def test_a_map_has_the_median_over_seeds_and_bears_gaps(make_run) -> None:
    data = _data(_deep(make_run))
    data.traces.loc[data.traces["site"] == "hidden7", ["grad_norm", "saturated"]] = [0.0, np.nan]
    drawn = depth.figures(data)["figure_depth_layers"]
    key = (BN, "tanh", DEEPEST)
    rows = depth.layer_rows(data, key, depth.trained(data, best=False)[key])
    first = tables.select(rows, step=1, layer=3)["saturated"]
    shown = np.ma.filled(np.ma.asarray(drawn.axes[3].collections[0].get_array()), np.nan)
    assert len(first) == 2
    assert shown.reshape(DEEPEST, -1)[2, 0] == pytest.approx(first.median())
    assert np.isnan(shown.reshape(DEEPEST, -1)[6]).all()
    drawn.draw_without_rendering()


def test_every_seed_is_drawn(make: Make) -> None:
    members = make(own={(BN, "tanh", 20): (0.91, 0.95, 0.97)}, traced=True)
    data = _data(members)
    drawn = depth.figures(data)
    assert list(drawn) == [
        f"figure_depth{part}" for part in ("", "_layers", "_layers_best", "_ends")
    ]
    assert set(drawn) == set(depth.CAPTIONS)
    left, right = drawn["figure_depth"].axes
    alone = [line for line in right.lines if line.get_linestyle() == "None"]
    points = np.concatenate([np.asarray(line.get_ydata()) for line in alone]).tolist()
    assert len(points) == 2 * 2 * 2 * 3  # arms, depths, rates, seeds
    for value in depth.trained(data, best=True)[BN, "tanh", 20].top1.values():
        assert value in points
    assert {text.get_text() for text in left.texts} >= {"1", "0.1", "trains", "chance"}
    assert any(np.allclose(line.get_ydata(), TRAINS) for line in left.lines)
    ends = drawn["figure_depth_ends"]
    assert [ax.get_yscale() for ax in ends.axes] == ["linear", "linear", "log", "log"]
    thin = [line for line in ends.axes[0].lines if line.get_marker() == "None"]
    assert len(thin) == 2 * 2 * 3  # arms, first and last step, seeds


# --- findings -------------------------------------------------------------------------------------


def test_findings_answer_first(make: Make) -> None:
    told = depth.findings(_data(make())).splitlines()
    assert told[0].startswith(
        "**BN makes sigmoid networks of 20 layers trainable that are not without it ("
    )
    assert "Of 3, 20 layers the most that still train are 20 with BN and 3 without." in told[0]
    assert "Tanh networks of 20 layers train without BN too (" in told[0]
    rows = [line for line in told if line.startswith("| sigmoid | 20 | without BN | 1 (highest")]
    assert rows[0].count("| no | 0 of 3 |") == 2
    rows = [line for line in told if line.startswith("| tanh | 3 | with BN | 1 (highest tried) |")]
    assert rows[0].count("| **yes** | 3 of 3 |") == 2


@pytest.mark.parametrize(
    ("changed", "own", "said"),
    [
        ({(BN, "sigmoid", 20): (0.7, 0.8)}, None, "Even with BN sigmoid networks of 20 layers do"),
        (
            {(BN, "tanh", 20): (0.7, 0.8)},
            None,
            "Tanh networks of 20 layers train without BN, and not with it",
        ),
        (
            None,
            {(BASELINE, "tanh", 20): (0.1, 0.95, 0.95)},
            "Whether BN makes tanh networks of 20 layers trainable that are not without it is und",
        ),
    ],
)
def test_every_answer_is_written(make: Make, changed, own, said: str) -> None:
    assert said in depth.summary(_data(make(changed, own=own)))


def test_layers_in_numbers(make: Make) -> None:
    data = _data(make(traced=True))
    sites = data.traces["site"].str.removeprefix("hidden").astype(int).to_numpy()
    baseline = (data.traces["experiment"] == BASELINE).to_numpy()
    sigmoid = data.traces["id"].str.startswith("fs").to_numpy()
    slope = np.where(baseline & sigmoid, 0.25, np.where(baseline, 0.9, 1.1))
    data.traces["grad_norm"] = 0.01 * slope ** (20.0 - sites)
    data.traces["saturated"] = np.where(baseline & ~sigmoid, 0.01 * sites, 0.0)
    key = (BASELINE, "tanh", DEEPEST)
    rows = depth.layer_rows(data, key, depth.trained(data, best=True)[key])
    expected = [0.9**19, 0.9**19, 0.01, 0.2, 0.2]
    assert depth.layer_numbers(rows) == pytest.approx(expected)
    told = depth.findings(data)
    assert "factor of 0.25 from each layer to the one below without BN, 1.10 with" in told
    sigmoids, tanhs = (line for line in told.splitlines() if "20 layers.** At the first" in line)
    assert "not stuck in saturation" in sigmoids
    assert "not stuck in saturation" not in tanhs  # it trains
    assert "up to 20.0 % of a layer's inputs are saturated without BN, 0.0 % with" in tanhs
    data.traces["saturated"] = 0.3
    assert "not stuck in saturation" not in depth.findings(data)


# --- the report -----------------------------------------------------------------------------------


def test_the_report_is_whole_and_repeats(make: Make, tmp_path: Path) -> None:
    members, out = make(traced=True), tmp_path / "out"
    report.write("depth", members, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {name for name in before if name.endswith(".svg")} == {
        f"{n}.svg" for n in depth.CAPTIONS
    }
    kept = results.read(out).traces
    assert not set(kept["unit"].dropna())
    assert set(kept["seed"]) == set(FRESH)
    report.write("depth", [Member(*m.key, m.varied) for m in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_other_initial_scales_are_told_and_change_no_verdict(make: Make, make_run) -> None:
    members = make()
    before = depth.claims(tables.load(members))
    for std, arm in product((0.01, 0.3), ARMS):
        varied = {NONLINEARITY: "tanh", DEPTH: DEEPEST, RATE: 1.0, depth.STD: std}
        top = 0.93 if arm == BN else 0.2
        for seed in FRESH:
            how = {"steps": 500, "eval_every": 250, "pace": 1, "top": top, "traces": False}
            members.append(make_run(arm, seed, **how, varied=varied, id=f"s{100 * std:g}"))
    data = tables.load(members)
    assert depth.claims(data) == before
    lines = [line for line in depth.findings(data).splitlines() if line.startswith("| tanh | 0.")]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["0.01", "0.1"],
        ["0.1", "1"],
        ["0.3", "3"],
    ]
    assert "20.0 %" in lines[0]
    assert "93.1 %" in lines[2]
