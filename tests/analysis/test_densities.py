"""Histograms from a run to a study's file, and as heat maps; where a run has none, nothing."""

import gzip

import numpy as np
import pytest
from matplotlib.figure import Figure

from bn_repro.analysis import densities, report, results, tables
from bn_repro.analysis.load import load
from bn_repro.analysis.tables import BIN_COLUMNS, BadInput
from bn_repro.records import histograms, paths

ARMS = ("mnist/baseline", "mnist/bn")


@pytest.fixture
def members(make_run):
    """Two seeds an arm of Figure 1, all with histograms."""
    return [make_run(a, s, steps=2_000, histograms=True) for a in ARMS for s in range(2)]


def test_the_columns_are_the_bins_by_their_left_ends():
    assert len(BIN_COLUMNS) == histograms.COUNTS
    assert BIN_COLUMNS[:3] == ["below", "-8", "-7.75"]
    assert BIN_COLUMNS[-2:] == ["7.75", "above"]
    assert [float(name) for name in BIN_COLUMNS[1:-1]] == histograms.edges()[1:-2]


def test_they_are_loaded_of_the_seeds_that_are_asked_for(members, tmp_path):
    assert load(members).histograms.empty
    found = load(members, histograms=[1]).histograms
    assert set(found["seed"]) == {1}
    rows = histograms.read_histograms(members[1].directory)
    mine = found.loc[found["experiment"] == members[1].experiment]
    assert mine["step"].tolist() == [row["step"] for row in rows]
    assert mine[BIN_COLUMNS].to_numpy().tolist() == [row["counts"] for row in rows]
    damaged = members[0].directory / paths.HISTOGRAMS
    damaged.write_text('{"step": 1, "site": "hidden1", "counts": [1]}\n')
    data = load(members, histograms=[0, 1])
    assert [line for line in data.warnings if str(damaged) in line]
    assert len(data.runs) == 3


def test_a_density_is_the_share_of_the_inputs_over_the_width_of_a_bin(members):
    runs = load(members, histograms=[0])
    assert densities.sites(runs) == ["hidden1", "hidden2", "hidden3"]
    found = densities.density(runs.where(experiment="mnist/bn"), "hidden3")
    assert found.values.shape == (len(found.steps), histograms.BINS)
    inside = found.values.sum(axis=1) * histograms.WIDTH
    assert inside + found.below + found.above == pytest.approx(1)
    assert found.values[0, 32] == pytest.approx(0.5, abs=0.01)  # evenly from -1 to 1
    ax = Figure().subplots()
    image = densities.heat_map(ax, runs.where(experiment="mnist/bn"), "hidden3")
    assert image.get_array().shape == (histograms.BINS, len(found.steps))
    assert np.array_equal(image.get_array(), found.values.T)
    with pytest.raises(BadInput, match=r"2 runs have histograms of hidden3 \(mnist/baseline-"):
        densities.density(runs, "hidden3")
    with pytest.raises(BadInput, match="no run has histograms of h9; the sites that have are: hid"):
        densities.density(runs, "h9")


@pytest.mark.usefixtures("drawn_once")
def test_a_report_keeps_one_seed_an_arm_and_draws_it(members, tmp_path):
    out = tmp_path / "out"
    report.write("fig1", members, out)
    kept = results.read(out, "fig1").histograms
    assert set(kept["seed"]) == {0}
    assert set(kept["experiment"]) == set(ARMS)
    assert (out / "figure1_densities.svg").exists()
    text = (out / results.README).read_text()
    assert "is kept of 1 seed an arm (0)" in text
    assert "figure1_densities" in text

    before = gzip.decompress((out / results.HISTOGRAMS).read_bytes())
    assert before.splitlines()[0].decode().split(",") == tables.HISTOGRAM_COLUMNS
    for member in members:  # the same runs, as an older version left them
        (member.directory / paths.HISTOGRAMS).unlink()
    report.write("fig1", members, out)
    assert gzip.decompress((out / results.HISTOGRAMS).read_bytes()) == before


@pytest.mark.usefixtures("drawn_once")
def test_runs_without_histograms_make_the_report_that_they_made(make_run, tmp_path):
    members = [make_run(arm, 0, steps=2_000) for arm in ARMS]
    report.write("fig1", members, tmp_path / "out")
    assert not (tmp_path / "out" / results.HISTOGRAMS).exists()
    assert not (tmp_path / "out" / "figure1_densities.svg").exists()
    assert "64 bins" not in (tmp_path / "out" / results.README).read_text()
