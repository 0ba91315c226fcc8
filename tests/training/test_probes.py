"""A probe measures what it says, and a run with probes is the run without, byte for byte."""

import copy

import pytest
import torch
from resumed import rows
from training.samples import SMOKE, network, sample_of, train

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id
from bn_repro.models.mlp import MLP
from bn_repro.records import paths
from bn_repro.records.histograms import read_histograms
from bn_repro.training import probes
from bn_repro.training.finished import find_finished, finished_line
from bn_repro.training.world import World

PROBED = ["train.probes=[activations]", "train.trace_units=[hidden3]"]


def test_activations_are_of_the_network_in_inference_mode_and_leave_it_as_it_was():
    generator = torch.Generator().manual_seed(0)
    model = MLP(norm=norm.batch(), generator=generator, widths=[20, 7, 5, 10], init_std=0.5).train()
    x, y = torch.randn(300, 20, generator=generator), torch.zeros(300, dtype=torch.int64)
    model(x[:60])  # moving averages that are not the first ones
    before = copy.deepcopy(model.state_dict())
    measured = probes.measure(["activations"], 3, model, sample_of((x, y)))
    by_site = {(r["site"], r["unit"]): r for r in measured}

    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    units = [("hidden2", k) for k in range(5)]
    assert list(by_site) == [("hidden1", None), ("hidden2", None), *units]
    model.eval()
    layers = dict(model.layers.named_modules())
    with torch.no_grad():
        z = layers["hidden2.norm"](layers["hidden2.linear"](layers["hidden1"](x)))
    for unit, values in ((None, z.flatten()), (3, z[:, 3])):
        row = by_site["hidden2", unit]
        expected = torch.quantile(values, torch.tensor([0.15, 0.5, 0.85])).tolist()
        assert [row["p15"], row["p50"], row["p85"]] == pytest.approx(expected)
        assert (row["step"], row["probe"]) == (3, "activations")


def test_a_run_without_histograms_is_the_same_run_and_has_no_such_file(tmp_path):
    off = "train.trace_histograms=false"
    assert run_id(compose([*SMOKE, off])) == run_id(compose(SMOKE))
    usual, without = train(tmp_path / "usual"), train(tmp_path / "without", off)
    for name in (paths.METRICS, paths.TRACES):
        assert (usual / name).read_bytes() == (without / name).read_bytes()
    assert not (without / paths.HISTOGRAMS).exists()
    assert read_histograms(without) == []
    traces = rows(usual, paths.TRACES)
    traced = [(row["step"], row["site"]) for row in traces if row["unit"] is None]
    found = read_histograms(usual)
    assert [(r["step"], r["site"]) for r in found] == traced
    assert {sum(r["counts"]) for r in found} == {60 * 100}


def test_a_run_with_probes_is_the_same_run_and_resumes_exactly(tmp_path):
    assert run_id(compose([*SMOKE, *PROBED])) == run_id(compose(SMOKE))
    plain, probed = train(tmp_path / "plain"), train(tmp_path / "probed", *PROBED)
    assert (plain / paths.METRICS).read_bytes() == (probed / paths.METRICS).read_bytes()
    assert not (plain / paths.PROBES).exists()

    train(tmp_path / "stopped", *PROBED, stop_at=30)
    stopped = train(tmp_path / "stopped", *PROBED)
    for name in (paths.METRICS, paths.TRACES, paths.PROBES):
        assert (stopped / name).read_bytes() == (probed / name).read_bytes(), name

    traces, found = (rows(probed, name) for name in (paths.TRACES, paths.PROBES))
    assert {r["step"] for r in traces} == {r["step"] for r in found}
    units = {step: 0 for step in {r["step"] for r in traces}}
    for row in traces:
        units[row["step"]] += row["site"] == "hidden3" and row["unit"] is not None
    assert units[60] == 100  # evaluated too
    assert set(units.values()) == {1, 100}


def test_a_finished_run_without_the_probes_asked_for_says_so(tmp_path):
    directory = train(tmp_path)
    config = compose([*SMOKE, f"runs={tmp_path}", *PROBED])
    done = find_finished(config)
    assert done is not None
    line = finished_line(config, directory, done)
    assert "completed at step 60, without the probes asked for" in line
    (directory / paths.PROBES).write_text("")
    assert "without the probes" not in finished_line(config, directory, done)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.norm=layer", "train.probes=[jacobians]"], "jacobians takes the statistics of the"),
        (
            ["train.trace_every=0", "train.trace_dense=0", "train.probes=[scale]"],
            "train.trace_every=0 and train.trace_dense=0 trace nothing",
        ),
    ],
)
def test_probes_that_would_measure_nothing_or_something_else_are_refused(words, said):
    config = compose([*SMOKE, *words])
    model, splits = network(norm.batch()), {"train": 60_000, "test": 10_000}
    with pytest.raises(ValueError, match=said):
        probes.check(config, model, splits, World(0, 1))


def test_a_norm_of_ones_own_is_asked_whether_it_waits_for_other_ranks():
    config = compose([*SMOKE, "model.norm=mine:f", "train.probes=[statistics]"])
    model = network(norm.batch(affine=False, synchronized=True))
    with pytest.raises(ValueError, match="model.norm=mine:f would wait for all 2"):
        probes.check(config, model, {"train": 60_000, "test": 10_000}, World(1, 2))


def test_probes_in_training_mode_are_refused_where_bn_would_wait_for_other_ranks():
    names = ",".join(sorted({*probes.PROBES} - {"activations", *probes.RECURRENT}))
    config = compose([*SMOKE, "model.norm=sync_batch", f"train.probes=[activations,{names}]"])
    generator = torch.Generator().manual_seed(0)
    model = MLP(norm=norm.sync_batch(), generator=generator, widths=[784, 4, 10], init_std=0.5)
    splits = {"train": 60_000, "test": 10_000}
    probes.check(config, model, splits, World(0, 1))
    said = rf"one rank measures {names.replace(',', ', ')}, .* wait for all 2"
    with pytest.raises(ValueError, match=said):
        probes.check(config, model, splits, World(1, 2))
