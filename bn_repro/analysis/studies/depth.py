"""Saturating nonlinearities (sec. 1): how deep a sigmoid or tanh network still trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, readme, style, tables
from bn_repro.analysis.claims import Claim, Verdict
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.studies.fig1 import ARMS, BASELINE, BN, CHANCE
from bn_repro.analysis.tables import StudyData

TITLE = "Saturating nonlinearities: how deep a network still trains"
COMMON = 0.1
"""The rate of section 4.1's network here, common to both arms (``fig1``)."""
DEEPEST = 20
TRAINS, LEARNS = 0.9, 0.5
"""A network trains where its mean test accuracy at the last step is at least the first; the second
is a weaker bound, for the findings. Both were fixed before any run."""

WHAT = (
    "Section 1 of the paper: saturating nonlinearities are hard to train, the more so the deeper "
    "the network, and BN makes them usable. Here the network of section 4.1 has 3 to 20 hidden "
    "layers of 100 sigmoid or tanh units. Its rate is chosen for each arm, nonlinearity and depth "
    "on 10,000 held-out training images (`rates`); then fresh seeds train on all 60,000 at the "
    f"common rate {COMMON} (`common`) and at the chosen one (`best`), and only these are measured "
    f"on the test set. A network **trains** where its mean test accuracy at the last step is at "
    f"least {100 * TRAINS:g} %."
)
DEVIATIONS = (
    "- The paper shows no such series: its one network with a saturating nonlinearity is "
    "BN-x5-Sigmoid (`fig3`).\n"
    "- The initial scale is 0.1 throughout. With 100 inputs that is a gain of 1, at which the "
    "inputs of a tanh neither grow nor die from layer to layer: what a careful hand would choose "
    "for tanh without BN. A sigmoid, whose slope is at most 1/4, gets no such care.\n"
    "- One seed chooses each network's rate, of five, on held-out images; intervals take that as "
    "given.\n"
    "- 10,000 steps of 60 examples, a constant rate; a diverged run counts as chance (0.1) on the "
    "test set, and as 0 where a rate is chosen."
)
IN_SHORT = (
    "The initial scale is 0.1 throughout, which suits tanh and not sigmoid; 10,000 steps; the "
    "paper has no such series."
)
CAPTIONS = {
    "figure_depth": "Test accuracy at the last step against depth: every seed (points) and their "
    "mean (lines), at the rate chosen for each network (full; its value below) and at the common "
    f"rate (open, lighter). Dotted: chance, and the {100 * TRAINS:g} % at which a network counts "
    "as trained.",
    "figure_depth_layers": f"Every layer of the {DEEPEST}-layer networks over training, at the "
    "common rate: the share of saturated inputs and the norm of their gradient, median over seeds. "
    "Dark: saturated; or without gradient.",
    "figure_depth_layers_best": "The same, each network at its own best rate.",
    "figure_depth_ends": f"The layers of the {DEEPEST}-layer networks at the start and at the end "
    "of training, each network at its own best rate: every seed and their median.",
}
TRACES = True

NONLINEARITIES: tuple[str, ...] = ("sigmoid", "tanh")
SATURATED = {"sigmoid": 4, "tanh": 2}
"""|x| beyond which an input counts as saturated (``trace``)."""
NONLINEARITY, DEPTH, RATE = "model.nonlinearity", "model.depth", "optimizer.lr"
STD, USUAL_STD = "model.init_std", 0.1
FEW, VANISHED = 0.05, 1e-3
"""A saturated share and a ratio of gradients that are named as such, in the findings."""
KEPT_STEPS = [int(m * 10**k) for k in range(5) for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    return (TRAINS,)


def keep(data: StudyData) -> pd.DataFrame:
    """The traces that the figures need: the final runs' layers, some nine steps a decade."""
    rows = tables.select(grids.held_out(data, False).traces, unit=None)
    steps = rows["step"].to_numpy()
    last = rows.groupby(tables.KEY)["step"].transform("max").to_numpy()
    return rows.take(np.flatnonzero(np.isin(steps, KEPT_STEPS) | (steps == last)))


# --- the networks at their rates ------------------------------------------------------------------

Network = tuple[str, str, int]
"""(experiment, nonlinearity, depth)."""


@dataclass(frozen=True)
class Trained:
    """A network's final runs at one rate: ``top1`` by seed, on the test set at the last step."""

    rate: float
    top1: dict[int, float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(list(self.top1.values())))


def depths(data: StudyData) -> list[int]:
    """The numbers of hidden layers that the study has, ascending."""
    return sorted({int(m.varied[DEPTH]) for m in data.members if DEPTH in m.varied})


def best_rates(data: StudyData) -> dict[Network, float]:
    """The rate with the best mean on held-out images; only of networks with all of their grid.

    As ``study`` chooses it: a diverged run counts as 0, and of equals the first is taken.
    """
    done = {tuple(key) for key in data.runs[tables.KEY].to_numpy().tolist()}
    waiting = {
        (m.experiment, m.varied[NONLINEARITY], m.varied[DEPTH])
        for m in data.members
        if m.varied.get(grids.HELD_OUT) and m.key not in done
    }
    runs = grids.last(grids.held_out(data, True), "val", diverged=0.0)
    found = {}
    for network in all_networks(data):
        table = grids.grid(_of(runs, network), [RATE])
        if network not in waiting and table is not None and table.whole:
            found[network] = float(table.axes[0][table.best[0]])
    return found


def trained(data: StudyData, best: bool) -> dict[Network, Trained]:
    """Every network's final runs at its own best rate (where that is known), or at the common."""
    chosen = best_rates(data) if best else dict.fromkeys(all_networks(data), COMMON)
    runs = grids.last(grids.held_out(data, False), "test", diverged=CHANCE)
    found = {}
    for network, rate in chosen.items():
        rows = tables.select(_of(runs, network), **{RATE: rate})
        pairs = zip(rows["seed"].tolist(), rows["last"].tolist(), strict=True)
        top1 = {int(seed): float(value) for seed, value in pairs if value == value}
        if top1:
            found[network] = Trained(rate, top1)
    return found


def all_networks(data: StudyData) -> list[Network]:
    """Every nonlinearity, depth and arm of the study, in that order."""
    return [(arm, n, depth) for n, depth, arm in product(NONLINEARITIES, depths(data), ARMS)]


def _of(runs: pd.DataFrame, network: Network, std: float | None = None) -> pd.DataFrame:
    """A network's runs, from the usual initial scale or from another."""
    experiment, nonlinearity, depth = network
    if STD in runs:
        runs = tables.select(runs, **{STD: std})
    return tables.select(
        runs, **{"experiment": experiment, NONLINEARITY: nonlinearity, DEPTH: depth}
    )


def paired(
    networks: dict[Network, Trained], nonlinearity: str, layers: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(baseline, BN) accuracies (depths, seeds), over the seeds that all of these networks have."""
    arms = [[networks.get((arm, nonlinearity, depth)) for depth in layers] for arm in ARMS]
    seeds = sorted(set.intersection(*(set(t.top1 if t else ()) for row in arms for t in row)))
    a, b = (np.array([[t.top1[s] for s in seeds] if t else [] for t in row]) for row in arms)
    return a, b


# --- claims ---------------------------------------------------------------------------------------

BY_SEED = "paired by seed, with its 95 % bootstrap interval over seeds"


def claims(data: StudyData) -> list[Claim]:
    """What BN makes trainable, how deep, and what depth costs."""
    best, common = trained(data, best=True), trained(data, best=False)
    layers = depths(data)
    return [
        *(_trainable(best, n, "at its own best rate", "own_best_rate") for n in NONLINEARITIES),
        *(_trainable(common, n, f"at rate {COMMON}", "common_rate") for n in NONLINEARITIES),
        *(_greatest_depth(best, n, layers) for n in NONLINEARITIES),
        *(_lost(best, n, layers) for n in NONLINEARITIES),
    ]


def _trainable(networks: dict[Network, Trained], nonlinearity: str, where: str, name: str) -> Claim:
    (a,), (b,) = paired(networks, nonlinearity, [DEEPEST])
    found, judged = trainable(a, b)
    bound = f"{100 * TRAINS:g} %"
    return c.claim(
        f"{nonlinearity}_{DEEPEST}_layers_{name}_difference",
        f"BN makes {nonlinearity} networks of {DEEPEST} layers trainable that are not without it, "
        f"each {where}.",
        "abstract, 1, 4.2.2",
        f"Test accuracy at the last step (moving averages) of the networks of {DEEPEST} layers, "
        f"each {where}: mean of BN minus baseline, {BY_SEED}. A network trains where its mean is "
        f"at least {bound}. Holds if the interval lies above 0, that of BN's mean wholly at or "
        f"above {bound} and that of the baseline's wholly below; does not hold if the baseline's "
        f"lies wholly at or above {bound} too, or BN's wholly below. A diverged run counts as "
        "chance.",
        found,
        judged,
    )


def trainable(without: np.ndarray, with_bn: np.ndarray) -> tuple[Interval, Verdict]:
    """BN minus baseline, and whether BN trains where the baseline does not; (seeds,) each."""
    gap = intervals.difference(with_bn, without, paired=True)
    a, b = intervals.interval(without), intervals.interval(with_bn)
    if gap.n < c.ENOUGH_SEEDS:
        return gap, "undecided"
    if gap.low > 0 and b.low >= TRAINS > a.high:
        return gap, "holds"
    return gap, "does not hold" if a.low >= TRAINS or b.high < TRAINS else "undecided"


def greatest_depth(layers: Sequence[int], top1: np.ndarray) -> np.ndarray:
    """The greatest depth whose mean accuracy is enough, 0 where none is; (depths, ..., seeds)."""
    means = top1.mean(axis=-1)
    shape = (-1,) + (1,) * (means.ndim - 1)
    return np.where(means >= TRAINS, np.asarray(layers, dtype=float).reshape(shape), 0).max(axis=0)


def _greatest_depth(
    networks: dict[Network, Trained], nonlinearity: str, layers: Sequence[int]
) -> Claim:
    a, b = paired(networks, nonlinearity, layers)
    found = intervals.bootstrap(
        lambda x, y: greatest_depth(layers, y) / greatest_depth(layers, x), a, b, paired=True
    )
    return c.claim(
        f"{nonlinearity}_greatest_depth_ratio",
        f"BN trains deeper {nonlinearity} networks, each at its own best rate.",
        "1, 4.2.2",
        "The greatest number of hidden layers, of those tried, whose mean test accuracy at the "
        f"last step is at least {100 * TRAINS:g} % (0 where none is), with BN over without, "
        "resampling seeds (paired over arms and depths). Holds if the 95 % interval lies above 1, "
        "does not hold if below. The depths tried are the resolution: where both arms train the "
        "deepest, nothing is decided.",
        found,
        c.verdict(found, above=1.0),
    )


def _lost(networks: dict[Network, Trained], nonlinearity: str, layers: Sequence[int]) -> Claim:
    shallowest = layers[0]
    a, b = (v[0] - v[1] for v in paired(networks, nonlinearity, [shallowest, DEEPEST]))
    found = intervals.difference(a, b, paired=True)
    return c.claim(
        f"{nonlinearity}_lost_with_depth_difference",
        f"With BN a {nonlinearity} network loses less accuracy from {shallowest} to {DEEPEST} "
        "layers, each at its own best rate.",
        "1",
        f"Test accuracy at the last step with {shallowest} layers minus that with {DEEPEST}, mean "
        f"of the baseline's loss minus BN's, {BY_SEED}. Holds if the interval lies above 0, does "
        "not hold if below. A diverged run counts as chance.",
        found,
        c.verdict(found, above=0.0),
    )


# --- figures --------------------------------------------------------------------------------------

SHIFT = {BASELINE: 0.965, BN: 1.035}
"""Side by side, where the arms' points would lie upon each other."""
LOWEST = -0.7
"""Room for the rates below an accuracy of 0, on the axis of the error."""
LAYER_NUMBERS = {"saturated": "saturated share of inputs", "grad_norm": "norm of their gradient"}
FAINTEST = 1e-6
"""Of the greatest gradient: what is less is drawn as this."""


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_depth``, and where there are traces of the deepest networks ``figure_depth_layers``
    (common rate), ``figure_depth_layers_best`` (own best rates) and ``figure_depth_ends``."""
    best, common = trained(data, best=True), trained(data, best=False)
    with style.context():
        drawn = {
            "figure_depth": _accuracy(data, best, common),
            "figure_depth_layers": _maps(data, common),
            "figure_depth_layers_best": _maps(data, best),
            "figure_depth_ends": _ends(data, best),
        }
        return {name: figure for name, figure in drawn.items() if figure is not None}


def _accuracy(
    data: StudyData, best: dict[Network, Trained], common: dict[Network, Trained]
) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, nonlinearity in zip(axes, NONLINEARITIES, strict=True):
        draw_accuracy(ax, nonlinearity, depths(data), best, common)
    axes[0].set_ylabel("test accuracy at the last step")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _marks(arm: style.Arm, *, full: bool) -> dict[str, Any]:
    """An arm's line and markers: full, or open and lighter."""
    how = {"color": arm.color, "marker": arm.marker, "ls": arm.linestyle, "ms": 3.8, "mew": 0.6}
    if full:
        return {**how, "mec": "white"}
    return {**how, "mec": arm.color, "mfc": "white", "lw": 0.8, "alpha": 0.6}


def draw_accuracy(
    ax: Axes,
    nonlinearity: str,
    layers: Sequence[int],
    best: dict[Network, Trained],
    common: dict[Network, Trained],
) -> Axes:
    """Test accuracy against depth, every seed; below it, each network's own best rate."""
    for (line, (experiment, arm)), own_best in product(enumerate(ARMS.items()), (False, True)):
        networks = best if own_best else common
        found = {d: t for d in layers if (t := networks.get((experiment, nonlinearity, d)))}
        x = SHIFT[experiment] * np.array(list(found), dtype=float)
        how = _marks(arm, full=own_best)
        rate = "own best rate" if own_best else f"rate {COMMON}"
        ax.plot(x, [t.mean for t in found.values()], **how, label=f"{arm.label}, {rate}")
        for place, t in zip(x, found.values(), strict=True):
            ax.plot([place] * len(t.top1), list(t.top1.values()), **{**how, "ls": "none"})
        if own_best:
            below: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": arm.color}
            below |= {"ha": "center", "va": "center", "fontsize": 6.5}
            for depth, t in found.items():
                ax.text(depth, 0.085 - 0.05 * line, f"{t.rate:g}", **below)
    for level, words in ((TRAINS, "trains"), (CHANCE, "chance")):
        ax.axhline(level, color=style.INK, lw=0.7, ls=(0, (1, 2)))
        where = ax.get_yaxis_transform()
        ax.text(0.01, level, words, transform=where, va="bottom", fontsize=6.5)
    ax.text(0.01, 0.06, "own best\nrate", transform=ax.transAxes, va="center", fontsize=6.5)
    ax.set_xscale("log")
    ax.set_xlim(layers[0] / 1.6, layers[-1] * 1.2)
    ax.xaxis.set_major_locator(FixedLocator(list(layers)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    style.error_axis(ax, LOWEST, 0.988)
    ax.set_xlabel("hidden layers")
    ax.set_title(nonlinearity)
    return ax


def layer_rows(data: StudyData, network: Network, t: Trained) -> pd.DataFrame:
    """The traces of a network's final runs at its rate, a row per seed, step and ``layer``."""
    runs = tables.select(_of(grids.held_out(data, False).runs, network), **{RATE: t.rate})
    rows = tables.select(tables.subset(data, runs).traces, unit=None)
    return rows.assign(layer=rows["site"].str.removeprefix("hidden").astype(int))


def _deepest(data: StudyData, networks: dict[Network, Trained]) -> dict[Network, pd.DataFrame]:
    """The traces of the deepest networks, of those that have any."""
    keys = [(arm, n, DEEPEST) for n, arm in product(NONLINEARITIES, ARMS)]
    found = {key: layer_rows(data, key, networks[key]) for key in keys if key in networks}
    return {key: rows for key, rows in found.items() if len(rows)}


def _maps(data: StudyData, networks: dict[Network, Trained]) -> Figure | None:
    """Layer by step, a column for each of the deepest networks: saturation, and gradient."""
    found = _deepest(data, networks)
    if not found:
        return None
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey=True)
    columns = [(arm, n, DEEPEST) for n, arm in product(NONLINEARITIES, ARMS)]
    for line, (name, label) in enumerate(LAYER_NUMBERS.items()):
        maps = {
            key: pd.DataFrame(rows.groupby(["layer", "step"])[name].median().unstack("step"))
            for key, rows in found.items()
        }
        highest = max(float(np.nanmax(table.to_numpy(float))) for table in maps.values()) or 1.0
        norm, colors, extend = Normalize(0, highest), "Blues", "neither"
        if name == "grad_norm":
            norm, colors, extend = LogNorm(FAINTEST * highest, highest), "viridis", "min"
        for key, table in maps.items():
            draw_map(axes[line, columns.index(key)], table, norm, colors)
        how = {"label": label, "extend": extend, "aspect": 14, "pad": 0.01}
        figure.colorbar(ScalarMappable(norm, colors), ax=list(axes[line]), **how).minorticks_off()
    for ax, key in zip(axes[0], columns, strict=True):
        rate = f"rate {networks[key].rate:g}" if key in networks else "no runs yet"
        ax.set_title(f"{key[1]}, {ARMS[key[0]].label}\n{rate}", fontsize=7.5)
    for ax in axes[:, 0]:
        ax.set_ylabel("hidden layer")
    for ax in axes[1]:
        style.steps_axis(ax)
    return figure


def draw_map(ax: Axes, table: pd.DataFrame, norm: Normalize, colors: str) -> QuadMesh:
    """A table (layers, steps) as a map, steps logarithmic; the layer at the image is lowest."""
    steps, layers = table.columns.to_numpy(float), table.index.to_numpy(float)
    middles = np.sqrt(steps[1:] * steps[:-1])
    x = np.concatenate([[steps[0]], middles, [steps[-1]]])
    y = np.append(layers - 0.5, layers[-1] + 0.5)
    ax.grid(False)
    ax.set_facecolor("#dddddd")  # no number, or a gradient of 0
    ax.set_xscale("log")
    ax.set_yticks([1, *range(5, int(layers[-1]) + 1, 5)])
    return ax.pcolormesh(x, y, table.to_numpy(float), norm=norm, cmap=colors, rasterized=True)


def _ends(data: StudyData, networks: dict[Network, Trained]) -> Figure | None:
    """The layers of the deepest networks as profiles: the first step (open), the last (full)."""
    found = _deepest(data, networks)
    if not found:
        return None
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for ((experiment, nonlinearity, _), rows), start in product(found.items(), (True, False)):
        column = NONLINEARITIES.index(nonlinearity)
        for ax, name in zip(axes[:, column], LAYER_NUMBERS, strict=True):
            draw_profile(ax, at_end(rows, name, start=start), ARMS[experiment], start=start)
    for ax, nonlinearity in zip(axes[0], NONLINEARITIES, strict=True):
        ax.set_title(f"{nonlinearity}, {DEEPEST} layers")
    for (left, right), label in zip(axes, LAYER_NUMBERS.values(), strict=True):
        left.set_ylabel(label)
        for ax in (left, right):
            ax.set_xticks([1, *range(5, DEEPEST + 1, 5)])
    for ax in axes[1]:
        ax.set_yscale("log")
        ax.set_xlabel("hidden layer")
    named = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=4)
    return figure


def at_end(rows: pd.DataFrame, name: str, *, start: bool) -> pd.DataFrame:
    """A number of each seed (row) and layer (column), at its last step or (``start``) its first."""
    ends = rows.groupby("seed")["step"].transform("min" if start else "max")
    kept = rows.loc[rows["step"] == ends]
    return kept.pivot(index="seed", columns="layer", values=name).astype(float)


def draw_profile(ax: Axes, table: pd.DataFrame, arm: style.Arm, *, start: bool) -> Axes:
    """A number (seeds, layers) against the layer: every seed thin, their median with markers."""
    layers, values = table.columns.to_numpy(float), table.to_numpy(float)
    for row in values:
        ax.plot(layers, row, color=arm.color, lw=0.5, alpha=style.FAINT)
    label = f"{arm.label}, {'first' if start else 'last'} step"
    ax.plot(layers, np.median(values, axis=0), **_marks(arm, full=not start), label=label)
    return ax


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """Which of the deepest networks still train; markdown."""
    return " ".join(_answers(data))


def findings(data: StudyData) -> str:
    """Which still train, as a table, and what the layers show; markdown."""
    return "\n".join(
        [
            f"**{' '.join(_answers(data))}**",
            "",
            *_table(data),
            "",
            *_scales_in_words(data),
            *_layers_in_words(data),
        ]
    )


def _answers(data: StudyData) -> list[str]:
    """Two sentences for each nonlinearity, each network at its own best rate."""
    best, layers, told = trained(data, best=True), depths(data), []
    for nonlinearity in NONLINEARITIES:
        (a,), (b,) = paired(best, nonlinearity, [DEEPEST])
        gap, judged = trainable(a, b)
        what = f"{nonlinearity} networks of {DEEPEST} layers"
        if gap.n == 0:
            told.append(f"Whether BN makes {what} trainable is not measured yet.")
            continue
        if judged == "holds":
            said = f"BN makes {what} trainable that are not without it"
        elif judged == "undecided":
            said = f"Whether BN makes {what} trainable that are not without it is undecided"
        elif b.mean() >= TRAINS:
            said = f"{what.capitalize()} train without BN too"
        elif a.mean() >= TRAINS:
            said = f"{what.capitalize()} train without BN, and not with it"
        else:
            said = f"Even with BN {what} do not train"
        told.append(f"{said} ({100 * b.mean():.1f} % with BN, {100 * a.mean():.1f} % without).")
        a, b = paired(best, nonlinearity, layers)
        if a.size:
            deepest = [f"{greatest_depth(layers, top1):g}" for top1 in (b, a)]
            told.append(
                f"Of {', '.join(map(str, layers))} layers the most that still train are "
                f"{deepest[0]} with BN and {deepest[1]} without."
            )
    return told


def _table(data: StudyData) -> list[str]:
    """Nonlinearity by depth by arm: rates, accuracies, and which train."""
    chosen = best_rates(data)
    best, common = trained(data, best=True), trained(data, best=False)
    tried = [m.varied[RATE] for m in data.members if m.varied.get(grids.HELD_OUT)]
    ends = {min(tried): " (lowest tried)", max(tried): " (highest tried)"} if tried else {}
    rates = {key: f"{rate:g}{ends.get(rate, '')}" for key, rate in chosen.items()}
    some = f"seeds above {100 * LEARNS:g} %"
    head = ["nonlinearity", "layers", "arm", "own best rate", "accuracy at it", "trains", some]
    head += [f"accuracy at rate {COMMON}", "trains", some]
    return [
        "Test accuracy at the last step, mean and every seed; it *trains* where the mean is at "
        f"least {100 * TRAINS:g} %.",
        "",
        readme.table(
            head,
            [
                [*_name(key), rates.get(key, "-"), *_told(best.get(key)), *_told(common.get(key))]
                for key in all_networks(data)
            ],
        ),
    ]


def _name(network: Network) -> list[str]:
    experiment, nonlinearity, depth = network
    return [nonlinearity, f"{depth}", ARMS[experiment].label]


def _told(t: Trained | None) -> list[str]:
    """Mean accuracy and every seed's, whether it trains, and how many seeds learn something."""
    if t is None:
        return ["-"] * 3
    values = list(t.top1.values())
    return [
        _mean_and_seeds(values),
        "**yes**" if t.mean >= TRAINS else "no",
        f"{sum(v > LEARNS for v in values)} of {len(values)}",
    ]


def _scales_in_words(data: StudyData) -> list[str]:
    """The deepest networks again, from other initial scales: a table."""
    runs = grids.last(grids.held_out(data, False), "test", diverged=CHANCE)
    stds = sorted({std for std in runs[STD].tolist() if std == std and std}) if STD in runs else []
    if not stds:
        return []
    best = trained(data, best=True)
    rows = []
    for nonlinearity in NONLINEARITIES:
        keys = [(arm, nonlinearity, DEEPEST) for arm in ARMS]
        for std in sorted({*stds, USUAL_STD}):
            cells = []
            for key in keys:
                usual = best[key].top1.values() if key in best else []
                own = _of(runs, key, std)["last"].tolist()
                cells.append(_mean_and_seeds(list(usual) if std == USUAL_STD else own))
            if any(tables.select(runs, **{NONLINEARITY: nonlinearity, STD: s}).size for s in stds):
                rows.append([nonlinearity, f"{std:g}", f"{10 * std:g}", *cells])
    head = ["nonlinearity", "initial scale", "gain of a layer"]
    return [
        f"**From other initial scales**, {DEEPEST} layers, at the rates chosen at {USUAL_STD:g} "
        "(which is a gain of 1 in a layer of 100 units). These runs were added after a first look "
        "at the others, to test a reason; no claim rests on them.",
        "",
        readme.table([*head, *(arm.label for arm in ARMS.values())], rows),
        "",
    ]


def _mean_and_seeds(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{100 * np.mean(values):.1f} % ({', '.join(f'{100 * v:.1f}' for v in values)})"


def layer_numbers(rows: pd.DataFrame) -> list[float]:
    """Of a network's ``layer_rows``, medians over seeds: the gradient's norm in the first layer
    over that in the last, at the first step and at the last; then saturated shares at the last
    step, in the first layer, in the last, and the greatest."""
    ratios = []
    for start in (True, False):
        slopes = at_end(rows, "grad_norm", start=start).to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios.append(float(np.median(slopes[:, 0] / slopes[:, -1])))
    shares = np.median(at_end(rows, "saturated", start=False).to_numpy(), axis=0)
    return [*ratios, float(shares[0]), float(shares[-1]), float(shares.max())]


def _layers_in_words(data: StudyData) -> list[str]:
    """What reaches the first layer, and what is saturated, by network."""
    best, common = trained(data, best=True), trained(data, best=False)
    networks = [(key, best[key]) for key in all_networks(data) if key in best]
    networks += [
        (key, t)
        for key, t in common.items()
        if key[2] == DEEPEST and (key not in best or best[key].rate != t.rate)
    ]
    seen: dict[Network, list[float]] = {}
    rows = []
    for key, t in networks:
        traces = layer_rows(data, key, t)
        if not traces.empty:
            numbers = layer_numbers(traces)
            seen.setdefault(key, numbers)
            shown = [f"{_a_layer(key, numbers):.2f}", *(f"{x:.2g}" for x in numbers[:2])]
            shares = [f"{100 * share:.1f} %" for share in numbers[2:]]
            rows.append([*_name(key), f"{t.rate:g}", *shown, *shares])
    if not rows:
        return []
    head = ["nonlinearity", "layers", "arm", "rate", "gradient a layer, first step"]
    head += ["gradient, first / last layer, first step", "last step"]
    head += ["saturated, first layer", "last layer", "most in a layer"]
    limits = " or ".join(f"{limit} ({name})" for name, limit in SATURATED.items())
    return [
        *_deepest_in_words(best, seen),
        "The norm of the loss's gradient at the inputs of the first layer's nonlinearities over "
        "that at the last layer's, at the first step (before any update) and at the last, and as a "
        f"factor from each layer to the one below; and the share of inputs beyond {limits} at the "
        "last step. Medians over seeds, of one mini-batch each.",
        "",
        readme.table(head, rows),
    ]


def _a_layer(key: Network, numbers: list[float]) -> float:
    return numbers[0] ** (1 / max(1, key[2] - 1))


def _deepest_in_words(best: dict[Network, Trained], seen: dict[Network, list[float]]) -> list[str]:
    lines = []
    for nonlinearity in NONLINEARITIES:
        without, with_bn = keys = [(arm, nonlinearity, DEEPEST) for arm in ARMS]
        if not all(key in seen and key in best for key in keys):
            continue
        a, b = seen[without], seen[with_bn]
        told = (
            f"**{nonlinearity}, {DEEPEST} layers.** At the first step the gradient changes by a "
            f"factor of {_a_layer(without, a):.2f} from each layer to the one below without BN, "
            f"{_a_layer(with_bn, b):.2f} with: the first layer gets {a[0]:.2g} and {b[0]:.2g} "
            "times what the last one gets. At the last step, each at its own best rate, up to "
            f"{100 * a[4]:.1f} % of a layer's inputs are saturated without BN, "
            f"{100 * b[4]:.1f} % with."
        )
        if best[without].mean < TRAINS and a[4] < FEW and a[0] < VANISHED:
            told += (
                " So without BN the network is not stuck in saturation, which the paper blames: "
                "its gradient vanishes from the start, on the way through slopes below 1."
            )
        lines += [told, ""]
    return lines
