"""Figures are drawn the same twice, carry no date, and tell the arms apart without colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import count


def _figure() -> Figure:
    with style.context():
        figure = Figure(figsize=(3, 2))
        ax = figure.add_subplot()
        wide = pd.DataFrame([[0.1, 0.5, 0.9], [0.2, 0.5, 0.8]], columns=[1_000, 2_000, 3_000])
        assert panels.curves(ax, wide, style.BN) is ax
        bands = np.array([[-1.0, -2, -2], [0.0, 0, 0], [1.0, 2, 2]])
        assert panels.percentiles(ax, np.array([1, 2, 3]), bands, style.BASELINE) is ax
        assert panels.name_percentiles(ax, bands[:, -1]) is ax
        assert style.steps_axis(ax) is ax
        return figure


def test_the_same_bytes_twice_and_no_date() -> None:
    with style.context():
        first, second = style.files(_figure(), "sha256:1"), style.files(_figure(), "sha256:1")
    assert first == second
    assert b"<dc:date>" not in first["svg"]
    assert b"Matplotlib" not in first["svg"]
    assert b"Matplotlib" not in first["png"]
    assert all(b"sha256:1" in content for content in first.values())


def test_a_figure_drawn_from_the_same_stays_and_another_is_written(tmp_path: Path) -> None:
    with style.context():
        svg, png = style.save(_figure(), tmp_path / "figure1", "sha256:1")
        svg.write_bytes(svg.read_bytes() + b"<!-- by another release -->")
        before = svg.read_bytes(), png.read_bytes()
        style.save(_figure(), tmp_path / "figure1", "sha256:1")
        assert (svg.read_bytes(), png.read_bytes()) == before
        style.save(_figure(), tmp_path / "figure1", "sha256:2")
        assert b"another release" not in svg.read_bytes()
        png.unlink()
        style.save(_figure(), tmp_path / "figure1", "sha256:2")
        assert png.exists()


def test_every_seed_faint_and_the_median_bold() -> None:
    ax = _figure().axes[0]
    seeds, bold = ax.lines[:2], ax.lines[2]
    np.testing.assert_allclose(np.asarray(bold.get_ydata(), float), [0.15, 0.5, 0.85])
    assert all((line.get_alpha() or 1) < 0.5 for line in seeds)
    assert all(line.get_linewidth() < bold.get_linewidth() for line in seeds)


def test_the_arms_differ_without_colour() -> None:
    grey = [np.dot(to_rgb(arm.color), (0.299, 0.587, 0.114)) for arm in (style.BN, style.BASELINE)]
    assert abs(grey[0] - grey[1]) > 0.3
    assert style.BN.linestyle != style.BASELINE.linestyle
    assert style.BN.marker != style.BASELINE.marker


def test_words() -> None:
    assert [style.thousands(v) for v in (1, 500, 1_000, 12_500, 50_000)] == [
        *("1", "500", "1K", "12.5K", "50K")
    ]
    assert (count(1, "seed"), count(1_000, "seed")) == ("1 seed", "1,000 seeds")


def test_error_axes_are_in_percent_and_say_their_scale() -> None:
    with style.context():
        ax = style.error_axis(Figure().add_subplot(), 0.0, 0.99)
    top, middle, bottom = (ax.transData.transform((0, y))[1] for y in (0.99, 0.9, 0.0))
    assert (top - middle) / (middle - bottom) == pytest.approx(
        1, abs=0.01
    )  # a decade of error each
    assert "log scale of the error" in ax.get_ylabel()
    assert ax.yaxis.get_major_formatter()(0.975, 0) == "97.5 %"


def test_letters_stand_before_titles() -> None:
    with style.context():
        axes = Figure().subplots(1, 2)
        axes[0].set_title("accuracy")
        style.letters(axes)
        assert [ax.get_title(loc="left") for ax in axes] == ["(a)  accuracy", "(b)"]


def test_a_legend_for_several_panels_has_each_name_once() -> None:
    figure = Figure()
    axes = figure.subplots(1, 3)
    style.legend(figure, axes)
    assert not figure.legends  # nothing is named
    for ax, labels in zip(axes, ("ab", "", "bc"), strict=True):
        for label in labels:
            ax.plot([], [], label=label)
    style.legend(figure, axes, ncols=3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_an_arm_knows_its_share_of_runs_and_values(make_run) -> None:
    arms = ("mnist/baseline", "mnist/bn")
    runs = load([make_run(arm, s, steps=2_000, traces=False) for arm in arms for s in (0, 1)])
    assert set(style.BN.of(runs).runs["experiment"]) == {"mnist/bn"}
    assert len(style.BASELINE.of(runs.final()).array) == 2
    deeper = style.BN.with_(label="deep", keys={"experiment": "mnist/bn", "depth": 20})
    assert (deeper.color, len(deeper.of(runs).runs)) == (style.BN.color, 0)


def test_a_second_line_of_an_arm_is_open_and_thin() -> None:
    ax = Figure().add_subplot()
    values = np.array([[0.1, 0.3], [0.2, np.nan]])
    for light in (False, True):
        assert panels.along(ax, [1, 2], values, style.BN, light=light) is ax
    _, full, _, _, light, points = ax.lines
    np.testing.assert_allclose(np.asarray(full.get_ydata(), float), [0.2, 0.2])
    assert light.get_linewidth() < full.get_linewidth()
    assert points.get_markerfacecolor() == "white"
    assert len(ax.get_legend_handles_labels()[1]) == 2


def test_names_of_curves_never_touch() -> None:
    with style.context():
        figure = Figure(figsize=(3, 2))
        ax = figure.add_subplot()
        ax.set_ylim(0, 1)
        panels.label_ends(ax, [(style.BN, 0.5), (style.BASELINE, 0.51)])
    low, high = sorted(text.get_position()[1] for text in ax.texts)
    assert (high - low) * ax.get_window_extent().height / figure.dpi >= 0.13  # inches
    assert (low + high) / 2 == pytest.approx(0.505)
