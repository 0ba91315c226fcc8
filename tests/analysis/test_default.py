"""A study without a module: its arms by name, drawn as elsewhere, whatever became of their runs."""

import pytest

from bn_repro.analysis import tables
from bn_repro.analysis.studies import default


@pytest.fixture
def data(make_run):
    made = [make_run("mnist/bn", seed, id="a", varied={"model.norm": "batch"}) for seed in (0, 1)]
    made += [make_run("mnist/bn", 0, id="b", varied={"model.norm": "layer_norm"}, dies_at=1)]
    made += [make_run("mnist/bn", 0, id="c", varied={"model.norm": "none"})]
    data = tables.load(made, name="norms")
    data.runs["steps_to_0.5"] = [1000.0, 2000.0, None, 3000.0]
    return data


def test_an_arm_is_named_by_what_was_varied(data):
    assert list(default.arms(data)) == [
        f"mnist/bn, model.norm={norm}" for norm in ("batch", "layer_norm", "none")
    ]


def test_without_bn_is_drawn_as_elsewhere(data, make_run):
    colors = [look.color for look in default.looks(default.arms(data)).values()]
    blue, orange = default.LOOKS[0][0], default.BASELINE[0]
    assert (colors[0], colors[2]) == (blue, orange)
    assert len({*colors}) == 3
    pair = tables.load([make_run("mnist/baseline", 5, id="d"), make_run("mnist/bn", 5, id="e")])
    assert [look.color for look in default.looks(default.arms(pair)).values()] == [orange, blue]


def test_an_arm_that_diverged_is_drawn_without_a_word(data):
    (figure,) = default.figures(data).values()
    _, right = figure.axes
    assert len(right.collections) == 2  # two means; a warning would be an error here
