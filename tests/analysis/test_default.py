"""A study without a module: its arms by name, drawn as elsewhere, whatever became of their runs."""

from itertools import product

import pytest

from bn_repro.analysis.arms import arms_table
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import default
from bn_repro.analysis.style import BASELINE, BN


@pytest.fixture
def runs(make_run):
    made = [make_run("mnist/bn", seed, id="a", varied={"model.norm": "batch"}) for seed in (0, 1)]
    made += [make_run("mnist/bn", 0, id="b", varied={"model.norm": "layer_norm"}, dies_at=1)]
    made += [make_run("mnist/bn", 0, id="c", varied={"model.norm": "none"})]
    runs = load(made, name="norms")
    runs.runs["steps_to_0.5"] = [1000.0, 2000.0, None, 3000.0]
    return runs


def test_an_arm_is_named_by_what_was_varied(runs):
    assert [arm.label for arm in default.arms(runs)] == [
        f"mnist/bn, model.norm={norm}" for norm in ("batch", "layer_norm", "none")
    ]


def test_what_differs_among_seeds_of_one_id_names_no_arm(make_run):
    """As where more is recorded of some seeds."""
    made = []
    for norm, seed in product(("batch", "none"), (0, 1)):
        varied = {"model.norm": norm, "train.trace_every": 100 * (1 + seed)}
        made.append(make_run("mnist/bn", seed, id=norm, varied=varied))
    runs = load(made)
    assert [arm.label for arm in default.arms(runs)] == [
        f"mnist/bn, model.norm={norm}" for norm in ("batch", "none")
    ]
    head, *rows = arms_table(runs)
    assert head[:3] == ["experiment", "model.norm", "seeds"]
    assert [row[1] for row in rows] == ["batch", "none"]


def test_without_bn_is_drawn_as_elsewhere(runs, make_run):
    colors = [arm.color for arm in default.arms(runs)]
    assert (colors[0], colors[2]) == (BN.color, BASELINE.color)
    assert len({*colors}) == 3
    pair = load([make_run("mnist/baseline", 5, id="d"), make_run("mnist/bn", 5, id="e")])
    assert [arm.color for arm in default.arms(pair)] == [BASELINE.color, BN.color]


def test_an_arm_that_diverged_is_drawn_without_a_warning(runs):
    (figure,) = default.figures(runs).values()
    left, right = figure.axes
    assert len(right.collections) == 3  # the means; a warning would be an error here
    assert [ax.get_title("left")[:3] for ax in (left, right)] == ["(a)", "(b)"]


def test_an_arm_is_ranked_by_all_of_its_runs_a_diverged_one_as_chance(make_run):
    how = {"steps": 500, "eval_every": 250, "pace": 1, "traces": False}
    died = [{"dies_at": 300}] * 4 + [{}]
    made = [make_run("mnist/bn", k, id="a", **how | died[k], top=0.98) for k in range(5)]
    made += [make_run("mnist/baseline", k, id="b", **how, top=0.9) for k in range(5)]
    prose = Prose("mine", default.STUDY, load(made), [])
    assert prose["outcome"].startswith("Best: `mnist/baseline`")
    assert "2. `mnist/bn`: 2" in prose["findings"]  # of 10, 10, 10, 10 and about 98 %
    (row,) = (row for row in arms_table(load(made)) if row[0] == "`mnist/bn`")
    assert row[1] == "5 (4 diverged)"


def test_findings_rank_the_arms_and_one_without_accuracy_is_last(runs):
    prose = Prose("norms", default.STUDY, runs, [])
    lines = prose["findings"].splitlines()
    assert [line.split("`")[1].rpartition("=")[2] for line in lines][2] == "layer_norm"
    assert "(2 seeds)" in prose["findings"]
    assert prose["outcome"].startswith("Best: `mnist/bn, model.norm=")


def test_of_many_arms_the_best_are_drawn(make_run):
    how = {"steps": 500, "eval_every": 250, "pace": 1, "traces": False}
    tops = [0.5 + 0.04 * i for i in range(10)]
    made = [make_run("mnist/bn", 0, id=f"i{i}", top=top, **how) for i, top in enumerate(tops)]
    runs = load(made)
    assert [arm.keys["id"] for arm in default.drawn(runs)] == [f"i{i}" for i in range(2, 10)]
    assert "8 best of 10 arms" in Prose("", default.STUDY, runs, [])["findings"]
