"""What figures are made of: each panel takes axes, draws on them, and returns them.

Arms differ in colour, grey level, line style and marker, so that figures read in black and white.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bn_repro.analysis.speed import HEADLINE, Race
from bn_repro.analysis.style import FAINT, INK, Arm

DOTTED = (0, (1, 2))
RING: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 11, "mfc": "none", "mew": 1.2}
"""Around what was chosen."""


def curves(ax: Axes, wide: pd.DataFrame, arm: Arm, *, markers: int = 10) -> Axes:
    """Every seed faint and the median over seeds bold; ``wide`` has a row a seed, a column a step.

    About ``markers`` markers tell the arms apart where colour does not.
    """
    if wide.empty:
        return ax
    steps = wide.columns.to_numpy(dtype=float)
    ax.plot(steps, wide.to_numpy(dtype=float).T, color=arm.color, lw=0.6, alpha=FAINT)
    ax.plot(
        steps,
        np.median(wide.to_numpy(dtype=float), axis=0),
        color=arm.color,
        ls=arm.linestyle,
        marker=arm.marker,
        markevery=max(1, len(steps) // markers),
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=arm.label,
    )
    return ax


def _marks(arm: Arm, *, light: bool) -> dict[str, Any]:
    """An arm's line and full markers; ``light``: a thinner line and open ones."""
    look: dict[str, Any] = {"color": arm.color, "marker": arm.marker, "ls": arm.linestyle}
    look |= {"ms": 3.8, "mew": 0.6, "mec": "white"}
    return look | {"mec": arm.color, "mfc": "white", "lw": 0.8, "alpha": 0.7} if light else look


def along(
    ax: Axes, x: Sequence[float], values: np.ndarray, arm: Arm, *, light: bool = False, **look: Any
) -> Axes:
    """Numbers (settings, seeds) along a varied key ``x``: every seed a point, their mean a line.

    ``light`` sets a second line of the same arm apart.
    """
    means = np.nanmean(values, axis=-1) if values.size else np.array([])
    marks: dict[str, Any] = _marks(arm, light=light)
    marks |= {"ms": 3.2, "zorder": 2.1 if light else 2.2}
    line: dict[str, Any] = {"label": arm.label} | marks | look
    ax.plot([], [], **line)  # for the legend: line and marker
    line |= {"marker": "", "label": None}
    ax.plot(x, means, **line)
    marks |= {"ls": "none"}
    ax.plot(np.repeat(np.asarray(x, dtype=float), values.shape[-1]), values.ravel(), **marks)
    return ax


def seeds_of_row(ax: Axes, row: float, values: np.ndarray, arm: Arm) -> Axes:
    """Numbers along x in one row: every seed a small point, joined, and their mean large."""
    ax.plot(values, np.full(len(values), row), color=arm.color, lw=0.9, marker="o", ms=3, alpha=0.6)
    look: dict[str, Any] = {"color": arm.color, "marker": arm.marker, "mec": "white", "zorder": 4}
    ax.plot([values.mean()], [row], ms=5.5, **look)
    return ax


def reference(ax: Axes, y: float, label: str = "") -> Axes:
    """A dotted horizontal line, named at its left end: chance, a target."""
    ax.axhline(y, color=INK, lw=0.7, ls=DOTTED, zorder=1)
    where = ax.get_yaxis_transform()
    ax.text(0.01, y, label, transform=where, va="bottom", fontsize=6.5)
    return ax


def percentiles(ax: Axes, steps: np.ndarray, values: np.ndarray, arm: Arm) -> Axes:
    """The {15, 50, 85}th percentiles, shape (3, steps), as a band with its median bold."""
    low, middle, high = values
    ax.fill_between(steps, low, high, color=arm.color, alpha=0.16, lw=0)
    ax.plot(steps, low, color=arm.color, ls=(0, (1, 1)), lw=1.0)
    ax.plot(steps, high, color=arm.color, ls=(0, (3, 1.2)), lw=1.0)
    ax.plot(steps, middle, color=arm.color, lw=1.7, label=arm.label)
    return ax


def name_percentiles(ax: Axes, ends: np.ndarray) -> Axes:
    """Names the {15, 50, 85}th percentiles at the right, at their last values (3,)."""
    bottom, top = ax.get_ylim()
    for name, end in zip(("15th", "50th", "85th"), np.clip(ends, bottom, top), strict=True):
        ax.annotate(
            name,
            (1.0, end),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            annotation_clip=False,
        )
    return ax


def label_ends(ax: Axes, ends: Sequence[tuple[Arm, float]]) -> Axes:
    """Names curves at the right of linear axes, each at its last value; names never touch."""
    order = sorted(ends, key=lambda end: end[1])
    low, high = ax.get_ylim()
    gap = 14 / ax.get_window_extent().height  # the height of a name, in pixels at dpi 100
    places = _apart([(value - low) / (high - low) for _, value in order], gap)
    look: dict[str, Any] = {"va": "center", "ha": "left", "fontsize": 7.5, "fontweight": "bold"}
    for (arm, _), y in zip(order, places, strict=True):
        ax.text(1.015, y, arm.label, transform=ax.transAxes, color=arm.color, **look)
    return ax


def _apart(wanted: list[float], gap: float) -> list[float]:
    """Ascending places at least ``gap`` apart, clusters centred on where they would be."""
    clusters: list[list[float]] = []
    for place in wanted:
        clusters.append([place])
        while len(clusters) > 1:
            (a, b) = clusters[-2:]
            if np.mean(b) - np.mean(a) >= gap * (len(a) + len(b)) / 2:
                break
            clusters[-2:] = [a + b]
    return [
        float(np.mean(cluster)) + gap * (i - (len(cluster) - 1) / 2)
        for cluster in clusters
        for i in range(len(cluster))
    ]


def heat_map(
    ax: Axes, axes: Sequence[Sequence[float]], values: np.ndarray, *, norm: Any, cmap: str
) -> Any:
    """Numbers (x, y) over the values of two keys, ``axes``, as an image; returns the image."""
    image = ax.imshow(values.T, origin="lower", aspect="auto", cmap=cmap, norm=norm, zorder=1)
    ax.set_xticks(range(len(axes[0])), [f"{x:g}" for x in axes[0]], rotation=45)
    ax.set_yticks(range(len(axes[1])), [f"{y:g}" for y in axes[1]])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def ink_on(image: Any, value: float) -> str:
    """Black or white, whichever is read on the image's colour of ``value``."""
    red, green, blue, _ = image.cmap(image.norm(min(max(value, image.norm.vmin), image.norm.vmax)))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def outline(ax: Axes, inside: np.ndarray, color: str) -> Axes:
    """A line around the cells of a heat map that are ``inside`` (x, y)."""
    padded = np.pad(inside, 1)
    for i, j in np.argwhere(inside):
        for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if not padded[i + 1 + di, j + 1 + dj]:
                x, y = i + di / 2, j + dj / 2
                ends = ([x, x], [y - 0.5, y + 0.5]) if di else ([x - 0.5, x + 0.5], [y, y])
                ax.plot(*ends, color=color, lw=1.3, solid_capstyle="projecting", zorder=2)
    return ax


def layer_map(ax: Axes, table: pd.DataFrame, *, norm: Any, cmap: str) -> Any:
    """A table (layers, steps) as a map, steps logarithmic, the first layer lowest; returns it."""
    steps, layers = table.columns.to_numpy(float), table.index.to_numpy(float)
    middles = np.sqrt(steps[1:] * steps[:-1])
    x = np.concatenate([[steps[0]], middles, [steps[-1]]])
    y = np.append(layers - 0.5, layers[-1] + 0.5)
    ax.grid(False)
    ax.set_facecolor("#dddddd")  # no number, or a gradient of 0
    ax.set_xscale("log")
    ax.set_yticks([1, *range(5, int(layers[-1]) + 1, 5)])
    return ax.pcolormesh(x, y, table.to_numpy(float), norm=norm, cmap=cmap, rasterized=True)


def profile(ax: Axes, x: Sequence[Any], values: np.ndarray, arm: Arm, *, before: bool) -> Axes:
    """Numbers (seeds, layers) by layer, before (open) or after: seeds faint, median bold."""
    ax.plot(x, values.T, color=arm.color, lw=0.5, alpha=FAINT)
    label = f"{arm.label}, {'first' if before else 'last'} step"
    medians = pd.DataFrame(values).median().to_numpy()  # NaN, without a warning, where all are
    ax.plot(x, medians, **_marks(arm, light=before), label=label)
    return ax


def speed_up(ax: Axes, race: Race, arm: Arm) -> Axes:
    """How many times fewer steps the fast arm needs, over targets; open where one does not count.

    The first arm of a panel also draws the lines to read it by: no gain, and the headline's target.
    """
    points = [point for point in race.curve() if 0 < point.fewer.estimate < np.inf]
    x = np.array([100 * point.share for point in points])
    y = np.array([point.fewer.estimate for point in points])
    if not ax.lines:
        ax.axvline(100 * HEADLINE, color=INK, lw=0.7, ls=DOTTED, zorder=1)
        ax.axhline(1.0, color=INK, lw=0.7, zorder=1)
    ax.plot(x, y, color=arm.color, ls=arm.linestyle)
    full: dict[str, Any] = _marks(arm, light=False)
    ax.plot([], [], **full, label=arm.label)
    for point, at, value in zip(points, x, y, strict=True):
        low, high = np.clip([point.fewer.low, point.fewer.high], value / 4, 4 * value)
        ax.plot([at, at], [low, high], color=arm.color, lw=0.9)  # an open end is cut
        look: dict[str, Any] = _marks(arm, light=not point.counts) | {"ls": "none"}
        ax.plot([at], [value], **look)
    ax.set_yscale("log")
    ax.set_xlabel(f"target, % of {race.names[2]}'s best")
    return ax
