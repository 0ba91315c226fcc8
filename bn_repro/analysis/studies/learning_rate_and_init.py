"""Higher learning rates and careless initialization: a grid of both (abstract; sec. 1, 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm
from matplotlib.figure import Figure

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, steps_to, style, tables
from bn_repro.analysis.claims import Claim, Verdict
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.tables import StudyData

TITLE = "Higher learning rates, and less care about initialization"
WHAT = (
    "The abstract says that Batch Normalization allows much higher learning rates and less care "
    "about initialization. Here the network of section 4.1 trains for 10,000 steps at every cell "
    "of a grid of learning rates and of standard deviations of the Gaussian initial weights, in "
    "both arms, with 10,000 of the 60,000 training images held out (`grid`). The maps show the "
    "test set at the last step; steps to an accuracy are counted on the held-out images, which "
    "also choose each arm's best cell. That cell is then trained anew, from fresh seeds and on all "
    "60,000 images (`final`)."
)
DEVIATIONS = (
    "- The paper has no such grid on MNIST; it shows higher rates on ImageNet (Figures 2 and 3) "
    "and gives the reason in section 3.3.\n"
    "- 10,000 steps, a fifth of section 4.1's.\n"
    "- A diverged run counts as chance (0.1).\n"
    "- The standard deviation is that of every layer's weights, the last one's too."
)
IN_SHORT = "10,000 steps; the grid is this project's, on the network of section 4.1."
CAPTIONS = {
    "figure_grid": "Above: test accuracy over the grid, mean over seeds, in percent; outlined: the "
    "cells that train to 90 %; ringed: each arm's best cell. Below: the median number of steps to "
    "90 %, in thousands; blank where the median run never arrives.",
    "figure_best": "Test accuracy through each arm's best cell, along the rate and along the "
    "initial scale (every seed, mean), and the curves of fresh seeds at the best cells.",
}
TRACES = False  # most of the bytes of 548 runs, and no figure needs them

ARMS = {"mnist/baseline": style.BASELINE, "mnist/bn": style.BN}
BASELINE, BN = ARMS
RATE, STD = "optimizer.lr", "model.init_std"
CHANCE = 0.1
AT_CHANCE = 0.15
"""A cell is marked as chance up to here: the most frequent digit is 11.4 % of the test set."""
TARGETS = (0.9, 0.95)
TRAINS = TARGETS[0]
USUAL_STD = 0.1
"""The initial scale of Figure 1, at which the highest rates are compared."""


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    return TARGETS


def accuracy(data: StudyData, experiment: str, split: str = "test") -> Grid | None:
    """Accuracy at the last step over (rates, initial scales, seeds)."""
    runs = grids.last(grids.held_out(data, True, experiment), split, diverged=CHANCE)
    return grids.grid(runs, (RATE, STD))


def steps(data: StudyData, experiment: str, target: float = TRAINS) -> Grid | None:
    """Steps to ``target`` on held-out images over the same; infinite where never."""
    runs = grids.held_out(data, True, experiment).runs
    column = steps_to.column(target)
    if column not in runs:
        return None
    reached = runs.assign(**{column: steps_to.never_is_infinite(runs[column].to_numpy(float))})
    return grids.grid(reached, (RATE, STD), column)


def chosen(data: StudyData, experiment: str) -> tuple[int, int] | None:
    """The place of the arm's best cell, by the mean accuracy on held-out images."""
    found = accuracy(data, experiment, "val")
    return None if found is None else (found.best[0], found.best[1])


def finals(data: StudyData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(baseline, BN) test accuracy at their best cells, over common fresh seeds and steps."""
    a, b = (tables.curve(grids.held_out(data, False, arm), arm, diverged=CHANCE) for arm in ARMS)
    seeds, at = a.index.intersection(b.index), a.columns.intersection(b.columns)
    return a.loc[seeds, at], b.loc[seeds, at]


# --- claims ---------------------------------------------------------------------------------------

Statistic = Callable[[np.ndarray], np.ndarray]
"""Of an accuracy grid (rates, scales, ..., seeds), reducing the rates, the scales and the seeds."""


def share(target: float) -> Statistic:
    """The share of the grid's cells whose runs reach ``target``."""
    return lambda values: (values >= target).mean(axis=(0, 1, -1))


def span(values: np.ndarray, along: tuple[float, ...]) -> np.ndarray:
    """Highest over lowest good setting ``along`` axis 0; values (settings, ..., seeds)."""
    low, high = grids.good_range(values.mean(axis=-1))
    return np.asarray(along)[high] / np.asarray(along)[low]


def highest(values: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """The highest rate that trains; values (rates, ..., seeds); NaN where none does."""
    trains = values.mean(axis=-1) >= TRAINS
    top = len(rates) - 1 - trains[::-1].argmax(axis=0)
    return np.where(trains.any(axis=0), np.asarray(rates)[top], math.nan)


def _compared(
    data: StudyData, compute: Callable[[Grid, np.ndarray, str], np.ndarray], *, ratio: bool
) -> Interval:
    """BN against the baseline, resampling the seeds that both grids have together."""
    found = [accuracy(data, arm) for arm in ARMS]
    if any(g is None or not g.whole for g in found):
        return Interval(math.nan, math.nan, math.nan, 0)
    without, with_bn = (g for g in found if g is not None)
    if without.seeds != with_bn.seeds or without.axes != with_bn.axes:
        return Interval(math.nan, math.nan, math.nan, 0)

    def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        x, y = compute(without, a, BASELINE), compute(with_bn, b, BN)
        return y / x if ratio else y - x

    return intervals.bootstrap(both, without.values, with_bn.values, paired=True)


def claims(data: StudyData) -> list[Claim]:
    """The abstract's two promises, each as a rule fixed before the runs."""
    a, b = finals(data)
    found = [_share(data, target) for target in TARGETS]
    cells = {arm: chosen(data, arm) or (0, 0) for arm in ARMS}

    rates = _compared(data, lambda g, v, arm: span(v[:, cells[arm][1]], g.axes[0]), ratio=True)
    scales = _compared(data, lambda g, v, arm: span(v[cells[arm][0]], g.axes[1]), ratio=True)
    top = _compared(data, _highest_at_usual, ratio=True)
    how = (
        "Good is a mean test accuracy within one point of the best there, without a gap. With BN "
        "over without, resampling seeds (paired over arms and cells). Holds if the 95 % interval "
        "lies above 1, does not hold if below. The grid is the resolution, and its ends are limits."
    )
    found += [
        _ratio(
            "good_rates_ratio",
            "BN trains well over a wider range of learning rates, each at the initial scale of its "
            "best cell.",
            "abstract; 3.3",
            "At the initial scale of each arm's best cell on held-out images: the highest good "
            f"rate over the lowest. {how}",
            rates,
        ),
        _ratio(
            "good_scales_ratio",
            "BN depends less on the scale of the initial weights.",
            "abstract; 1",
            "At the rate of each arm's best cell on held-out images: the largest good standard "
            f"deviation of the initial weights over the smallest. {how}",
            scales,
        ),
        _ratio(
            "highest_rate_ratio",
            "With BN the highest rate that still trains is higher.",
            "abstract; 3.3",
            f"At the initial scale of Figure 1, {USUAL_STD:g}: the highest rate of the grid with a "
            f"mean test accuracy of at least {100 * TRAINS:g} %, with BN over without, resampling "
            "seeds (paired). Holds if the 95 % interval lies above 1, does not hold if below. The "
            "grid's highest rate is a limit.",
            top,
        ),
    ]
    end = c.higher_at_the_end(
        a, b, "Each at its own best cell of the grid, BN ends with the higher test accuracy.", "4.1"
    )
    return [*found, end]


def _highest_at_usual(grid: Grid, values: np.ndarray, _: str) -> np.ndarray:
    if USUAL_STD not in grid.axes[1]:
        return np.full(values.shape[2:-1], math.nan)
    return highest(values[:, grid.axes[1].index(USUAL_STD)], grid.axes[0])


def _share(data: StudyData, target: float) -> Claim:
    found = _compared(data, lambda g, v, arm: share(target)(v), ratio=False)
    return c.claim(
        f"trains_to_{100 * target:g}_difference",
        f"BN trains to {100 * target:g} % over more of the grid of rates and initial scales.",
        "abstract; 3.3",
        f"The share of the grid's runs whose test accuracy at the last step is at least "
        f"{100 * target:g} %, with BN minus without, resampling seeds (paired over arms and "
        "cells). Holds if the 95 % interval lies above 0, does not hold if below.",
        found,
        c.verdict(found, above=0.0),
    )


def _ratio(id: str, sentence: str, section: str, rule: str, found: Interval) -> Claim:
    return c.claim(id, sentence, section, rule, found, c.verdict(found, above=1.0))


# --- figures --------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_grid``: the maps; ``figure_best``: through the best cells, and at them."""
    with style.context():
        maps = Figure(figsize=(style.WIDTH, 6.1), layout="constrained")
        axes = np.asarray(maps.subplots(2, 2, sharex=True, sharey=True))
        drawn = [(draw_accuracy, axes[0]), (draw_steps, axes[1])]
        for draw, row in drawn:
            for ax, experiment in zip(row, ARMS, strict=True):
                draw(ax, data, experiment)
            images = [image for ax in row for image in ax.images]
            if images:
                _color_bar(maps, row, images[0], steps=draw is draw_steps)
        for ax in axes.flat:
            ax.label_outer()

        best = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
        left, middle, right = best.subplots(1, 3)
        draw_through(left, data, RATE)
        draw_through(middle, data, STD)
        draw_finals(right, data)
        return {"figure_grid": maps, "figure_best": best}


COLORS = "cividis"  # equally spaced in grey, and for every kind of colour vision
LOW, HIGH = 0.1, 0.985


def draw_accuracy(ax: Axes, data: StudyData, experiment: str) -> Axes:
    """Mean test accuracy over the grid, in percent, coloured on the scale of the error.

    A dot marks cells at chance, a cross those with a diverged run, a line goes around what trains,
    and a ring marks the best cell.
    """
    found = accuracy(data, experiment)
    if found is None:
        return ax
    norm = FuncNorm((style.of_error, style.of_error_inverse), vmin=LOW, vmax=HIGH)
    image = _map(ax, found, np.clip(found.means, LOW, HIGH), experiment, norm)
    lost = _diverged(data, experiment, found)
    for (i, j), value in np.ndenumerate(found.means):
        if math.isnan(value):
            continue
        at_chance = "x" if lost[i, j] else "·"
        text = at_chance if lost[i, j] or value <= AT_CHANCE else f"{100 * value:.0f}"
        ax.text(i, j, text, color=_on(image, value), **_TEXT)
    _outline(ax, found.means >= TRAINS)
    place = chosen(data, experiment)
    if place is not None:
        ax.plot(*place, marker="o", ms=13, mfc="none", mec="#d6336c", mew=1.6)
    ax.set_title(f"{ARMS[experiment].label}: test accuracy, %")
    return ax


def draw_steps(ax: Axes, data: StudyData, experiment: str) -> Axes:
    """Median steps to 90 % over the grid, in thousands."""
    found = steps(data, experiment)
    if found is None:
        return ax
    medians = np.median(found.values, axis=-1)
    last = float(np.max(data.runs["step"].to_numpy(float)))
    norm = LogNorm(vmin=min(250.0, last), vmax=last)
    image = _map(ax, found, np.where(np.isfinite(medians), medians, np.nan), experiment, norm, "_r")
    for (i, j), value in np.ndenumerate(medians):
        if np.isfinite(value):
            thousands = f"{value / 1000:.1f}" if value < 9950 else f"{value / 1000:.0f}"
            ax.text(i, j, thousands, color=_on(image, value), **_TEXT)
    ax.set_title(f"{ARMS[experiment].label}: thousands of steps to {100 * TRAINS:g} %")
    return ax


_TEXT: Any = {"ha": "center", "va": "center", "fontsize": 5.8}


def _map(
    ax: Axes, grid: Grid, values: np.ndarray, experiment: str, norm: Any, direction: str = ""
) -> Any:
    """The grid as an image: rates along x, initial scales up y."""
    rates, scales = grid.axes
    image = ax.imshow(
        values.T, origin="lower", aspect="auto", cmap=COLORS + direction, norm=norm, zorder=1
    )
    ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=45)
    ax.set_yticks(range(len(scales)), [f"{scale:g}" for scale in scales])
    ax.set_xlabel("learning rate")
    ax.set_ylabel("std of the initial weights")
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def _on(image: Any, value: float) -> str:
    """Black or white, whichever is read on the image's colour of ``value``."""
    red, green, blue, _ = image.cmap(image.norm(min(max(value, image.norm.vmin), image.norm.vmax)))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _outline(ax: Axes, inside: np.ndarray) -> None:
    """A line around the cells that are ``inside`` (columns, rows)."""
    padded = np.pad(inside, 1)
    for i, j in np.argwhere(inside):
        for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if not padded[i + 1 + di, j + 1 + dj]:
                x, y = i + di / 2, j + dj / 2
                ends = ([x, x], [y - 0.5, y + 0.5]) if di else ([x - 0.5, x + 0.5], [y, y])
                ax.plot(*ends, color="#d6336c", lw=1.3, solid_capstyle="projecting", zorder=2)


def _diverged(data: StudyData, experiment: str, grid: Grid) -> np.ndarray:
    lost = tables.select(grids.held_out(data, True, experiment).runs, state="diverged")
    where = set(zip(lost[RATE].tolist(), lost[STD].tolist(), strict=True))
    rates, scales = grid.axes
    return np.array([[(rate, scale) in where for scale in scales] for rate in rates])


def _color_bar(figure: Figure, axes: Any, image: Any, *, steps: bool) -> None:
    bar = figure.colorbar(image, ax=list(axes), shrink=0.9, pad=0.01, aspect=28)
    low, high = image.norm.vmin, image.norm.vmax
    known = (250, 500, 1000, 2000, 5000, 10000) if steps else style.ERROR_TICKS
    ticks = [tick for tick in known if low <= tick <= high]
    bar.set_ticks(ticks, labels=[style.thousands(t) if steps else f"{t:g}" for t in ticks])
    bar.minorticks_off()
    bar.set_label("steps" if steps else "test accuracy")
    bar.outline.set_visible(False)


def draw_through(ax: Axes, data: StudyData, key: str) -> Axes:
    """Test accuracy along ``key`` through each arm's best cell: every seed, and the mean."""
    for experiment, arm in ARMS.items():
        found, place = accuracy(data, experiment), chosen(data, experiment)
        if found is None or place is None:
            continue
        rate, std = found.axes[0][place[0]], found.axes[1][place[1]]
        along, values, told = (
            (found.axes[0], found.values[:, place[1]], f"std {std:g}")
            if key == RATE
            else (found.axes[1], found.values[place[0]], f"rate {rate:g}")
        )
        ax.plot(
            along,
            values.mean(axis=-1),
            color=arm.color,
            ls=arm.linestyle,
            label=told,  # the panel at the right names the arms
        )
        ax.plot(
            np.repeat(along, values.shape[-1]),
            values.ravel(),
            **{"ls": "none", "marker": arm.marker, "color": arm.color, "ms": 3.0},
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, HIGH)
    ax.axhline(CHANCE, color=style.INK, lw=0.7, ls=(0, (1, 2)))
    ax.set_xlabel("learning rate" if key == RATE else "std of the initial weights")
    ax.set_ylabel("test accuracy")
    ax.set_title("along the rate" if key == RATE else "along the initial scale")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower center", fontsize=6)
    return ax


def draw_finals(ax: Axes, data: StudyData) -> Axes:
    """Test accuracy of the fresh seeds at each arm's best cell."""
    a, b = finals(data)
    for experiment, wide in ((BASELINE, a), (BN, b)):
        style.plot_curves(ax, wide, ARMS[experiment])
    if a.size:
        both = np.concatenate([a.to_numpy(float), b.to_numpy(float)])
        style.error_axis(ax, max(0.5, float(both.min())), 1 - 0.85 * (1 - float(both.max())))
        ax.legend(loc="lower right")
    style.steps_axis(ax)
    ax.set_ylabel("test accuracy")
    ax.set_title("fresh seeds at the best cells")
    return ax


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """What becomes of the abstract's two promises; markdown."""
    verdicts = {claim.id: claim for claim in claims(data)}
    words = {
        "good_rates_ratio": "trains well over a wider range of learning rates",
        "good_scales_ratio": "depends less on the scale of the initial weights",
        "highest_rate_ratio": "still trains at a higher rate",
    }
    parts = []
    for id, what in words.items():
        found = verdicts[id]
        number = c.shown(id, found.estimate, found.low, found.high)
        parts.append(f"{_TOLD[found.verdict]} it {what} ({number})")
    shares = [(verdicts[f"trains_to_{100 * t:g}_difference"], f"{100 * t:g} %") for t in TARGETS]
    more = " and ".join(
        f"{c.shown(s.id, s.estimate, s.low, s.high)} of the runs to {target}"
        for s, target in shares
    )
    return (
        f"Over the whole grid, BN minus baseline: {more}. Through each arm's best cell (the "
        f"highest rate: at std {USUAL_STD:g}), BN against baseline: {'; '.join(parts)}."
    )


_TOLD: dict[Verdict, str] = {
    "holds": "it holds that",
    "does not hold": "it does not hold that",
    "undecided": "it is undecided whether",
}


def findings(data: StudyData) -> str:
    """The promises in one sentence, then the numbers of the maps; markdown."""
    lines = [f"**What becomes of the promises.** {summary(data)}", ""]
    found = {arm: accuracy(data, arm) for arm in ARMS}
    for arm, grid in found.items():
        if grid is None:
            continue
        reached = [f"{100 * share(t)(grid.values):.0f} % to {100 * t:g} %" for t in TARGETS]
        lines.append(
            f"- **{ARMS[arm].label}**: of the {grid.values[..., 0].size} cells and "
            f"{style.count(len(grid.seeds), 'seed')}, {' and '.join(reached)}. {_best(data, arm)}"
        )
    without, with_bn = found[BASELINE], found[BN]
    if without is None or with_bn is None or without.axes != with_bn.axes:
        return "\n".join(lines)
    a, b = finals(data)
    if a.size:
        ends = [intervals.interval(wide.to_numpy(float)[:, -1]).percent() for wide in (a, b)]
        lines.append(
            f"- **At the best cells**, {style.count(len(a), 'fresh seed')}, all training images: "
            f"{ends[0]} without BN, {ends[1]} with."
        )
    return "\n".join([*lines, "", *_by_scale(without, with_bn)])


def _best(data: StudyData, arm: str) -> str:
    grid, place, reached = accuracy(data, arm), chosen(data, arm), steps(data, arm)
    if grid is None or place is None:
        return ""
    (i, j), (rates, scales) = place, grid.axes
    low, high = (int(k) for k in grids.good_range(grid.means[:, j]))
    small, large = (int(k) for k in grids.good_range(grid.means[i]))
    ends = {low: 0, high: len(rates) - 1, small: 0, large: len(scales) - 1}
    limit = " (ends of the grid: it may be more)" if any(k == v for k, v in ends.items()) else ""
    words = (
        f"Its best cell is rate {rates[i]:g} at std {scales[j]:g} "
        f"({100 * grid.means[i, j]:.1f} % on the test set"
    )
    if reached is not None:
        median = steps_to.median_steps(reached.values[i, j])
        words += f", {steps_to.shown(median, math.nan)} steps to {100 * TRAINS:g} %"
    return (
        f"{words}); around it rates from {rates[low]:g} to {rates[high]:g} and scales from "
        f"{scales[small]:g} to {scales[large]:g} are within one point{limit}."
    )


def _by_scale(without: Grid, with_bn: Grid) -> list[str]:
    """A table: at each initial scale the best rate, those near it, and those that train."""
    rows = []
    for j, scale in enumerate(without.axes[1]):
        cells = [f"{scale:g}"]
        for grid in (without, with_bn):
            means, rates = grid.means[:, j], grid.axes[0]
            best = int(np.nan_to_num(means, nan=-1).argmax())
            good = (rates[int(k)] for k in grids.good_range(means))
            trains = [rate for rate, mean in zip(rates, means, strict=True) if mean >= TRAINS]
            cells += [
                f"{rates[best]:g} ({100 * means[best]:.1f} %)",
                _from_to(*good),
                _from_to(trains[0], trains[-1]) if trains else "-",
            ]
        rows.append(f"| {' | '.join(cells)} |")
    trains = f"train to {100 * TRAINS:g} %"
    head = [f"{what}, {arm.label}" for arm in ARMS.values() for what in ("best", "good", trains)]
    return [
        "At each initial scale: the rate with the best mean test accuracy, the rates within one "
        f"point of it, and the lowest and highest that {trains}. (The claim on the range of rates "
        "looks at one row of each arm alone, that of its best cell.)",
        "",
        f"| std | {' | '.join(head)} |",
        f"|{'---|' * 7}",
        *rows,
        "",
        _slope(with_bn),
    ]


def _from_to(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _slope(grid: Grid) -> str:
    """How the lowest rate that trains grows with the initial scale, with BN; markdown."""
    found = []
    for j, scale in enumerate(grid.axes[1]):
        first = int((grid.means[:, j] >= TRAINS).argmax())
        if first > 0:  # neither at the grid's end, nor none at all
            found.append((math.log(scale), math.log(grid.axes[0][first])))
    if len(found) < 3:
        return ""
    x, y = np.array(found).T
    exponent = float(np.polyfit(x, y, 1)[0])
    low, high = math.exp(found[0][0]), math.exp(found[-1][0])
    return (
        f"With BN the lowest rate that trains grows with the initial scale, from {low:g} to "
        f"{high:g} as its power {exponent:.2f} (least squares). Section 3.3 has the reason that it "
        "grows: weights a times larger have gradients a times smaller, so a step turns them by "
        "1/a^2 as much. That alone would make the power 2; but weights grow while they train, and "
        "the last layer has no BN (the two are not separated here)."
    )
