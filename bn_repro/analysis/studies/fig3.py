"""Figures 2 and 3 (sec. 4.2.2): five Inceptions on ImageNet's photographs, and those that fail."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bn_repro import paper
from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, load, steps_to, style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.load import StudyData
from bn_repro.analysis.readme import table

TITLE = "Figures 2 and 3: Inception with and without Batch Normalization, at proxy scale"
WHAT = (
    "Section 4.2.2 of the paper: one Inception network trained five ways, compared by single-crop "
    "validation accuracy against training steps, and by the steps that each needs to the best "
    "accuracy of Inception without BN; then the networks that the paper reports to fail. Here on a "
    "hundredth of the paper's training: photographs of 100 classes at 64x64, half of the width, "
    "10,000 steps (*Deviations* below has each number beside the paper's)."
)
DEVIATIONS = """\
| | the paper | here |
|---|---|---|
| images | ImageNet: 1,281,167 of 1,000 classes, 224x224 | 50,000 photographs of 100 of its classes \
at 64x64 (Tiny ImageNet, upstream 200 classes) |
| validation | 50,000 images, one crop | 5,000 images, the whole of each: an accuracy's standard \
error is up to 0.7 points for the images alone |
| network | 13.6e6 parameters | half of every width: 2.6e6; no auxiliary classifier |
| the stem | 224 becomes 28x28 in 3a, 7x7 in 5b | unchanged, so 64 becomes 8x8 in 3a and 2x2 in 4e \
to 5b, where BN's statistics are over 32 x 2 x 2 values instead of 32 x 7 x 7 |
| length | until each stops improving: 31e6 steps (774 epochs) without BN, about 6e6 (150) for BN-x30 \
| 10,000 steps (6.4 epochs) for every network |
| decay of the rate | GoogLeNet's 4 % every 8 epochs (320,292 steps); 6 times faster for BN-x5 and \
BN-x30 | the same stairs, compressed by each network's own length in the paper (31e6 or 6e6 steps), \
so that each ends at the rate it ended at there (2 % and 1 % of the first): 103 and 89 steps each |
| training | asynchronous, on many machines | one worker, synchronous, mini-batches of 32, float32 |
| evaluations | not said | every 250 steps: the resolution of every number of steps |
| runs | one of each | 3 seeds of each |
| not in the paper | momentum, L2 weight, initialisation | 0.9; 4e-5 (8e-6 for BN-x); He's, and for \
Inception at 5 times its rate also small Gaussians |"""
TRACES = True


class Setting(NamedTuple):
    """What tells the arms apart: the experiment, and where the first weights are not He's but from
    small Gaussians, their standard deviation."""

    experiment: str
    std: float | None = None


NETWORKS = {
    "imagenet/inception": style.Arm("Inception", "#e6912e", (0, (4.5, 1.4)), "s"),
    "imagenet/bn_baseline": style.Arm("BN-Baseline", "#56a3dc", "-", "^"),
    "imagenet/bn_x5": style.Arm("BN-x5", "#0b4a8f", "-", "o"),
    "imagenet/bn_x30": style.Arm("BN-x30", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D"),
    "imagenet/bn_x5_sigmoid": style.Arm("BN-x5-Sigmoid", "#4a9a5c", (0, (1.2, 1.1)), "P"),
}
"""Figure 3's rows, in its order, as they are drawn."""
INCEPTION, BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID = map(Setting, NETWORKS)
X5 = Setting("imagenet/inception_x5")
SIGMOID = Setting("imagenet/inception_sigmoid")
FAILURES = {
    X5: style.Arm("Inception-x5, He", "#b3261e", "-", "o"),
    X5._replace(std=0.01): style.Arm("Inception-x5, std 0.01", "#e58a7f", (0, (4.5, 1.4)), "v"),
    X5._replace(std=0.1): style.Arm("Inception-x5, std 0.1", "#6b0f0a", (0, (1.2, 1.1)), "X"),
    SIGMOID: style.Arm("Inception-Sigmoid", "#777777", (0, (6, 1.3, 1.2, 1.3)), "P"),
}
"""The networks without BN that the paper reports to fail."""
ARMS = {Setting(experiment): arm for experiment, arm in NETWORKS.items()} | FAILURES

CHANCE = 0.01
TRAINED = 2 * CHANCE
"""A network whose accuracy never exceeds this has not trained."""
EPOCHS_HERE, EPOCHS_PAPER = 6.4, 774


# --- rows -----------------------------------------------------------------------------------------


def part(data: StudyData, setting: Setting) -> StudyData:
    """One arm's runs."""
    runs = load.select(data.runs, experiment=setting.experiment)
    blank = [None] * len(runs)
    inits, stds = (runs[k].tolist() if k in runs else blank for k in ("model.init", "model.init_std"))
    found = [std if init == "gaussian" else None for init, std in zip(inits, stds, strict=True)]
    return load.subset(data, runs.take(np.flatnonzero([std == setting.std for std in found])))


def curves(data: StudyData, setting: Setting) -> pd.DataFrame:
    """Single-crop validation accuracy, seed by step; a diverged run counts as chance."""
    return load.curve(part(data, setting), setting.experiment, split="val", diverged=CHANCE)


def best(data: StudyData, setting: Setting) -> np.ndarray:
    """Each seed's maximum accuracy; chance where a run diverged before its first evaluation."""
    return part(data, setting).runs["best_top1"].fillna(CHANCE).to_numpy(float)


def target_of(data: StudyData) -> float:
    """The accuracy to count steps to: the best of the typical run of Inception; NaN without one."""
    values = best(data, INCEPTION)
    if not len(values):
        return math.nan
    return math.floor(1e4 * round(float(steps_to.typical_best(values)), 6) + 1e-6) / 1e4


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    target = target_of(data)
    return () if math.isnan(target) else (target,)


def grid_of(data: StudyData) -> float:
    """The distance of evaluations, in steps: the resolution of any number of steps."""
    steps = sorted(set(load.select(data.curves, split="val")["step"].tolist()))
    return float(np.median(np.diff([0, *steps]))) if steps else math.nan


def missing(data: StudyData) -> list[str]:
    """The arms that lack runs, and how many."""
    found = []
    for setting, arm in ARMS.items():
        planned = {
            member.seed
            for member in data.members
            if member.experiment == setting.experiment
            and (member.varied.get("model.init") == "gaussian") == (setting.std is not None)
            and setting.std in (None, member.varied.get("model.init_std"))
        }
        here = len(part(data, setting).runs)
        if here < len(planned) or not planned:
            found.append(f"{arm.label} ({here} of {style.count(len(planned), 'seed')})")
    return found


# --- claims ---------------------------------------------------------------------------------------


def speed_up(data: StudyData, slow: Setting, fast: Setting) -> Interval:
    """median(steps of ``slow``) / median(steps of ``fast``) to the best of Inception.

    Seeds of each network are resampled on their own, and the target with those of Inception.
    """
    arms = list(dict.fromkeys((INCEPTION, slow, fast)))
    wide = [curves(data, arm) for arm in arms]
    if any(w.empty for w in wide):
        return Interval(math.nan, math.nan, math.nan, 0)
    ceiling = wide[0].max(axis=1).to_numpy(float)

    def compute(*draws: np.ndarray) -> np.ndarray:
        chosen = [draw.astype(int) for draw in draws]
        target = steps_to.typical_best(ceiling[chosen[0]])
        medians = [
            np.median(np.take_along_axis(steps_to.at(w, target), draw, -1), axis=-1)
            for w, draw in zip(wide, chosen, strict=True)
        ]
        return medians[arms.index(slow)] / medians[arms.index(fast)]

    return intervals.bootstrap(compute, *(np.arange(len(w)) for w in wide))


TARGET_RULE = (
    "The target is Inception's best accuracy, as in the paper: the median over its seeds of each "
    "run's maximum (of an even number the lower of the two in the middle). A run's steps are the "
    "first evaluated step that reaches it, infinite if none does"
)
SEPARATE_RULE = (
    "resampling the seeds of each network on their own: with 3 seeds each the interval lies on one "
    "side only where every seed of the one lies on that side of every seed of the other, which "
    "chance alone does 1 time in 20"
)


def claims(data: StudyData) -> list[Claim]:
    """The claims of section 4.2.2, in the paper's order."""
    return [*_speed_claims(data), *_maximum_claims(data), *_failure_claims(data)]


def _speed_claims(data: StudyData) -> list[Claim]:
    where = "4.2.2, Figures 2 and 3"
    told = (
        (
            "bn_baseline_speed_up_ratio",
            "BN alone (BN-Baseline) reaches Inception's best accuracy in fewer than half of the "
            "steps (paper: 2.3 times fewer).",
            *(INCEPTION, BN_BASELINE, 2.0),
        ),
        (
            "bn_x5_further_speed_up_ratio",
            "BN-x5 needs fewer steps than BN-Baseline by a further factor (paper: 6.3).",
            *(BN_BASELINE, BN_X5, 1.0),
        ),
        (
            "bn_x5_speed_up_ratio",
            "BN-x5 needs 14 times fewer steps than Inception.",
            *(INCEPTION, BN_X5, 14.0),
        ),
        (
            "bn_x30_slower_at_first_ratio",
            "BN-x30 is slower than BN-x5 to that accuracy (paper: 1.3 times).",
            *(BN_X30, BN_X5, 1.0),
        ),
    )
    found = []
    for id, sentence, slow, fast, bound in told:
        ratio = speed_up(data, slow, fast)
        rule = (
            f"{TARGET_RULE}. Median steps of {ARMS[slow].label} over median steps of "
            f"{ARMS[fast].label}, with its 95 % bootstrap interval, {SEPARATE_RULE}; the target is "
            f"resampled with Inception's seeds. Holds if the interval lies above {bound:g}, does "
            "not hold if below."
        )
        found.append(c.claim(id, sentence, where, rule, ratio, c.verdict(ratio, above=bound)))
    return found


def _maximum_claims(data: StudyData) -> list[Claim]:
    found = []
    for name, other, numbers in (
        ("bn_x5", BN_X5, "74.8 and 73.0 %"),
        ("inception", INCEPTION, "74.8 and 72.2 %"),
    ):
        values = best(data, BN_X30), best(data, other)
        gap = intervals.difference(*values, paired=False)
        found.append(
            c.claim(
                f"bn_x30_over_{name}_maximum_difference",
                f"BN-x30 ends higher than {ARMS[other].label} (paper: {numbers}).",
                "4.2.2, Figure 3",
                "Maximum single-crop validation accuracy of BN-x30 minus that of "
                f"{ARMS[other].label}: difference of means with its 95 % bootstrap interval, "
                f"{SEPARATE_RULE}. Holds if the interval lies above 0, does not hold if below.",
                gap,
                c.verdict(gap, above=0.0),
            )
        )
    return found


def _failure_claims(data: StudyData) -> list[Claim]:
    where, bounds = "4.2.2", {"above": 10.0, "below": TRAINED / CHANCE}
    found = []
    for id, setting, sentence, side in (
        (
            "sigmoid_with_bn_over_chance_ratio",
            BN_SIGMOID,
            "With BN the network trains with sigmoids too, well above chance (paper: 69.8 %).",
            "above",
        ),
        (
            "sigmoid_without_bn_over_chance_ratio",
            SIGMOID,
            "Without BN the network with sigmoids never gets beyond chance.",
            "below",
        ),
    ):
        ratio = intervals.interval(best(data, setting) / CHANCE)
        other = {"above": "below", "below": "above"}[side]
        found.append(
            c.claim(
                id,
                sentence,
                where,
                f"Maximum accuracy of {ARMS[setting].label} over chance ({100 * CHANCE:g} %), mean "
                f"with its 95 % bootstrap interval over seeds. Holds if the interval lies {side} "
                f"{bounds[side]:g}, does not hold if {other}.",
                ratio,
                c.verdict(ratio, **{side: bounds[side]}),
            )
        )
    for setting, name, start in (
        (X5, "he", "from He's initial weights"),
        (X5._replace(std=0.01), "gaussian_001", "from Gaussian weights of standard deviation 0.01"),
        (X5._replace(std=0.1), "gaussian_01", "from Gaussian weights of standard deviation 0.1"),
    ):
        share = intervals.interval([float(f) for f in failed(data, setting)])
        found.append(
            c.claim(
                f"inception_x5_{name}_failed",
                f"Without BN, Inception fails at 5 times its rate, {start} (paper: machine "
                "infinity; initial weights not said).",
                where,
                "Share of the runs that fail: that end with a loss that is not finite, or whose "
                f"accuracy never exceeds {100 * TRAINED:g} %. Holds if the 95 % bootstrap interval "
                "over seeds lies above 1/2, does not hold if below.",
                share,
                c.verdict(share, above=0.5),
            )
        )
    return found


def failed(data: StudyData, setting: Setting) -> list[bool]:
    """By seed: whether the run diverged, or never got beyond chance."""
    diverged = [state == "diverged" for state in part(data, setting).runs["state"]]
    stuck = best(data, setting) <= TRAINED
    return [bool(d or s) for d, s in zip(diverged, stuck, strict=True)]


# --- figures --------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure2``, ``figure3`` as in the paper, ``figure_failures``, and ``figure_signals``."""
    with style.context():
        drawn = {"figure2": _figure2(data), "figure3": _figure3(data)}
        drawn["figure_failures"] = _failures(data)
        if not data.traces.empty:
            drawn["figure_signals"] = _signals(data)
        return drawn


def _last_step(data: StudyData) -> float:
    return float(max(data.runs["step"].tolist()))


def _percent_axis(ax: Axes) -> Axes:
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    return ax


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, str]], *, gap: float = 0.052) -> Axes:
    """Names curves at the right of linear axes: ``ends`` has each one's last value and colour.

    Names that would touch are moved apart, to ``gap`` of the axes' height, in their order.
    """
    names = sorted(ends, key=lambda name: ends[name][0])
    low, high = ax.get_ylim()
    heights = _apart([(ends[name][0] - low) / (high - low) for name in names], gap)
    for name, y in zip(names, heights, strict=True):
        ax.text(
            1.015,
            y,
            name,
            transform=ax.transAxes,
            color=ends[name][1],
            **{"va": "center", "ha": "left", "fontsize": 7.5, "fontweight": "bold"},
        )
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


def _figure2(data: StudyData) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    draw_accuracy(figure.subplots(), data)
    return figure


def draw_accuracy(ax: Axes, data: StudyData) -> Axes:
    """Figure 2: accuracy against steps; a large marker where each first reaches the target."""
    target, ends = target_of(data), {}
    for experiment, arm in NETWORKS.items():
        wide = curves(data, Setting(experiment))
        style.plot_curves(ax, wide, arm, markers=8)
        if wide.size:
            ends[arm.label] = (float(wide.iloc[:, -1].median()), arm.color)
    ax.set_xlim(0, _last_step(data))
    ax.set_ylim(0, None)
    if not math.isnan(target):
        ax.axhline(target, color=style.INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
        for experiment, arm in NETWORKS.items():
            _mark_crossing(ax, curves(data, Setting(experiment)), target, arm)
        ax.set_title(
            f"dotted: Inception's best, {100 * target:.1f} %; large markers: where the median first "
            "reaches it (ticks: every seed)",
            **{"fontsize": 7.5, "fontweight": "normal"},
        )
    label_ends(style.steps_axis(_percent_axis(ax)), ends)
    ax.set_ylabel("single-crop validation accuracy")
    return ax


def _mark_crossing(ax: Axes, wide: pd.DataFrame, target: float, arm: style.Arm) -> None:
    """Every seed's first step at the target as a tick, and the median as a large marker."""
    if wide.empty:
        return
    steps = steps_to.at(wide, target)
    middle, known = np.median(steps), steps[np.isfinite(steps)]
    ax.plot(
        known,
        np.full(len(known), target),
        **{"ls": "none", "marker": "|", "ms": 9, "mew": 1.1, "color": arm.color, "zorder": 5},
    )
    if np.isfinite(middle):
        ax.plot([middle, middle], [0, target], color=arm.color, lw=0.6, ls=(0, (1, 2)))
        ax.plot(
            [middle],
            [target],
            **{"marker": arm.marker, "ms": 8, "mfc": arm.color, "mec": style.INK, "mew": 0.9},
            zorder=6,
            clip_on=False,
        )


def _figure3(data: StudyData) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1.0])
    draw_speed(left, data)
    draw_maximum(right, data)
    rows = range(len(NETWORKS))
    left.set_yticks(list(rows), [arm.label for arm in NETWORKS.values()], fontsize=8)
    for tick, arm in zip(left.get_yticklabels(), NETWORKS.values(), strict=True):
        tick.set_color(arm.color)
        tick.set_fontweight("bold")
    left.set_ylim(len(NETWORKS) - 0.45, -0.6)
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        for row in rows[:-1]:
            ax.axhline(row + 0.5, color="#dddddd", lw=0.5)
    handles = [
        *left.plot([], [], "o", color=style.INK, ms=6),
        *left.plot([], [], "o", color=style.INK, ms=3, alpha=0.45, mew=0),
        *left.plot([], [], "d", color=style.INK, ms=6, mfc="white", mew=1.0),
    ]
    names = ["here, with its interval", "here, every seed", "the paper"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, handletextpad=0.2)
    return figure


def _dots(
    ax: Axes, row: float, values: np.ndarray, found: Interval, arm: style.Arm, printed: float | None
) -> None:
    """One network: the interval and its estimate, every seed below, the paper's number above."""
    if np.isfinite(found.low) and found.high > found.low:
        ax.plot([found.low, found.high], [row, row], color=arm.color, lw=1.4)
    ax.plot(
        values,
        np.full(len(values), row + 0.2),
        **{"ls": "none", "marker": "o", "ms": 3, "color": arm.color, "alpha": 0.45, "mew": 0},
    )
    ax.plot([found.estimate], [row], ls="none", marker=arm.marker, ms=6.5, color=arm.color)
    if printed is not None:
        ax.plot(
            [printed],
            [row - 0.22],
            **{"marker": "d", "ms": 5.5, "mfc": "white", "mec": style.INK, "mew": 0.9},
        )


def _note(ax: Axes, row: float, words: str) -> None:
    ax.text(
        1.02,
        row,
        words,
        transform=ax.get_yaxis_transform(),
        **{"ha": "left", "va": "center", "fontsize": 6.5, "linespacing": 1.35},
    )


def draw_speed(ax: Axes, data: StudyData) -> Axes:
    """How many times fewer steps than Inception each needs to Inception's best accuracy."""
    target, last = target_of(data), _last_step(data)
    ours = curves(data, INCEPTION)
    reference = np.median(steps_to.at(ours, target)) if ours.size else math.nan
    for row, experiment in enumerate(NETWORKS):
        network, printed = Setting(experiment), paper.FIGURE3[experiment].steps_to_target
        wide = curves(data, network)
        words = ["paper: never" if printed is None else f"paper: {printed / 1e6:g}M steps"]
        if wide.size and not math.isnan(target):
            steps = steps_to.at(wide, target)
            found = speed_up(data, INCEPTION, network)
            if network == INCEPTION:
                found = Interval(1.0, math.nan, math.nan, len(steps))
            factor = None if printed is None else _paper_factor(printed)
            if np.isfinite(np.median(steps)):
                _dots(ax, row, reference / steps, found, ARMS[network], factor)
            elif factor is not None:
                _dots(ax, row, np.array([]), Interval(math.nan, *[math.nan] * 2, 0), ARMS[network], factor)
            words = [f"{steps_to.shown(float(np.median(steps)), last)} steps", *words]
        _note(ax, row, "\n".join(words))
    ax.set_xscale("log")
    ax.set_xlim(0.8, max(40.0, 1.2 * ax.get_xlim()[1]))
    ax.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
    ax.set_xlabel("times fewer steps than Inception")
    reached = "" if math.isnan(target) else f" ({100 * target:.1f} % here, 72.2 % there)"
    ax.set_title(f"to Inception's best{reached}", fontsize=7.5)
    return ax


def _paper_factor(steps: float) -> float:
    slow = paper.FIGURE3[INCEPTION.experiment].steps_to_target
    assert slow is not None
    return slow / steps


def draw_maximum(ax: Axes, data: StudyData) -> Axes:
    """Maximum accuracy, in points above Inception's."""
    reference = best(data, INCEPTION)
    base = paper.FIGURE3[INCEPTION.experiment].max_top1
    for row, experiment in enumerate(NETWORKS):
        values, printed = best(data, Setting(experiment)), paper.FIGURE3[experiment].max_top1
        words = [f"paper: {100 * printed:.1f} %"]
        if len(values) and len(reference):
            gap = intervals.difference(values, reference, paired=False)
            if row == 0:
                gap = Interval(0.0, math.nan, math.nan, len(values))
            found = Interval(*(100 * v for v in (gap.estimate, gap.low, gap.high)), gap.n)
            shown = 100 * (values - reference.mean())
            _dots(ax, row, shown, found, ARMS[Setting(experiment)], 100 * (printed - base))
        if len(values):
            words = [f"{100 * values.mean():.1f} %", *words]
        _note(ax, row, "\n".join(words))
    ax.axvline(0, color=style.INK, lw=0.7, ls=(0, (1, 2)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    ax.set_xlabel("points above Inception's")
    ax.set_title("maximum accuracy", fontsize=7.5)
    return ax


def _failures(data: StudyData) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_failures(left, data, "accuracy")
    draw_failures(right, data, "loss")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def draw_failures(ax: Axes, data: StudyData, what: str) -> Axes:
    """Validation accuracy, or training loss, of the networks said to fail; a cross where a run's
    loss ceased to be finite. Inception and BN-x5-Sigmoid stand beside them, thin."""
    last = _last_step(data)
    for setting in (INCEPTION, BN_SIGMOID, *FAILURES):
        arm, runs = ARMS[setting], part(data, setting)
        if what == "accuracy":
            wide = curves(data, setting)
        else:
            wide = load.curve(
                runs, setting.experiment, split="train", statistics="batch", metric="loss"
            ).dropna(axis=1, how="all")
        lines = len(ax.lines)
        if setting in FAILURES:
            style.plot_curves(ax, wide, arm, markers=6)
        elif wide.size:
            middle = wide.median()
            ax.plot(wide.columns, middle, color=arm.color, ls=arm.linestyle, lw=1.0, label=arm.label)
        if len(ax.lines) == lines and len(runs.runs):
            ax.plot([], [], color=arm.color, ls=arm.linestyle, marker=arm.marker, label=arm.label)
        died = load.select(runs.runs, state="diverged")["step"].to_numpy(float)
        if len(died):
            ax.plot(
                died,
                np.full(len(died), CHANCE if what == "accuracy" else 0.965),
                transform=ax.transData if what == "accuracy" else ax.get_xaxis_transform(),
                **{"ls": "none", "marker": "x", "ms": 6, "mew": 1.6, "color": arm.color},
                zorder=6,
                clip_on=False,
            )
    if what == "accuracy":
        ax.set_yscale("log")
        ax.axhline(CHANCE, color=style.INK, lw=0.7, ls=(0, (1, 2)))
        ax.set_ylim(0.8 * CHANCE, 1.0 if ax.get_ylim()[1] > 0.5 else 0.5)
        ax.yaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]))
        ax.yaxis.set_minor_locator(NullLocator())
        style.steps_axis(_percent_axis(ax))
        ax.set_xlim(0, last)
        ax.set_title("single-crop validation accuracy")
    else:
        ax.set_xscale("log")
        ax.set_xlim(1, last)
        ax.set_ylim(0, 7)
        style.steps_axis(ax)
        ax.set_title("loss of the training mini-batch")
    return ax


SIGNALS = {
    "std": "standard deviation",
    "saturated": "share with |x| > 4",
    "grad_norm": "norm of the gradient",
}


def _signals(data: StudyData) -> Figure:
    """What each network's nonlinearities see, by depth: at the first step and at the last."""
    pooled = load.subset(data, data.runs)
    pooled.traces = load.select(data.traces, unit=None)
    sites = list(dict.fromkeys(pooled.traces["site"].tolist()))
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    axes = figure.subplots(2, len(SIGNALS), sharex=True, sharey="col")
    arms = (*map(Setting, NETWORKS), X5, SIGMOID)
    by_arm = {arm: part(pooled, arm).traces for arm in arms}
    for (row, when), (column, name) in product(enumerate(("first", "last")), enumerate(SIGNALS)):
        ax = axes[row, column]
        for arm, traces in by_arm.items():
            values = _profile(traces, name, when, sites)
            if values.size:
                draw = ARMS[arm]
                for seed in values:
                    ax.plot(seed, color=draw.color, lw=0.6, alpha=style.FAINT)
                ax.plot(
                    np.median(values, axis=0),
                    color=draw.color,
                    ls=draw.linestyle,
                    marker=draw.marker,
                    **{"mec": "white", "mew": 0.4, "lw": 1.2, "label": draw.label},
                )
        if row == 0:
            ax.set_title(SIGNALS[name])
        ax.set_xticks(range(len(sites)), sites, rotation=60, ha="right", rotation_mode="anchor")
    for ax, name in product(axes.flat, SIGNALS):
        if ax.get_subplotspec().colspan.start == list(SIGNALS).index(name) and name != "saturated":
            ax.set_yscale("log")
            ax.yaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("at the first step")
    axes[1, 0].set_ylabel("at the last step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle("inputs of the nonlinearities, from the first layer to the last", fontsize=8.5)
    return figure


def _profile(traces: pd.DataFrame, name: str, when: str, sites: list[str]) -> np.ndarray:
    """A row per seed, a column per site, at the run's first or last recorded step."""
    rows = []
    for seed in sorted(set(traces["seed"])):
        part = load.select(traces, seed=seed)
        step = part["step"].min() if when == "first" else part["step"].max()
        at = load.select(part, step=step).set_index("site")[name]
        rows.append([float(at.get(site, math.nan)) for site in sites])
    values = np.array(rows).reshape(len(rows), len(sites))
    return np.where(values > 0, values, np.nan) if name == "grad_norm" else values


# --- findings -------------------------------------------------------------------------------------


def findings(data: StudyData) -> str:
    """Figure 3's table beside the paper's, and what became of the failures; markdown."""
    lines = []
    gone = missing(data)
    if gone:
        lines += [f"**Not finished, and missing from all below:** {', '.join(gone)}.", ""]
    lines += [*_figure3_table(data), "", *_reading(data), "", *_failures_table(data)]
    return "\n".join(lines)


def _figure3_table(data: StudyData) -> list[str]:
    target, grid, last = target_of(data), grid_of(data), _last_step(data)
    if math.isnan(target):
        return ["Without a run of Inception there is no target to count steps to."]
    slow = float(np.median(steps_to.at(curves(data, INCEPTION), target)))
    rows = []
    for experiment, arm in NETWORKS.items():
        network, printed = Setting(experiment), paper.FIGURE3[experiment]
        wide, ratio = curves(data, network), speed_up(data, INCEPTION, network)
        cells = ["-", "-", "-"]
        if wide.size:
            steps = steps_to.at(wide, target)
            middle = float(np.median(steps))
            every = ", ".join(steps_to.shown(s, last) for s in np.sort(steps))
            cells[0] = f"{steps_to.shown(middle, last)} ({every})"
            if network != INCEPTION and np.isfinite(middle):
                cells[1] = c.shown("_", ratio.estimate, ratio.low, ratio.high)
                high = slow / (middle - grid) if middle > grid else math.inf
                cells[1] += f"; by the grid {(slow - grid) / middle:.1f} to {high:.1f}"
            values = best(data, network)
            every = ", ".join(f"{100 * v:.1f}" for v in values)
            cells[2] = f"{100 * values.mean():.1f} % ({every})"
        in_paper, factor = "never", "-"
        if printed.steps_to_target is not None:
            in_paper = f"{printed.steps_to_target / 1e6:.1f}e6"
            factor = f"{_paper_factor(printed.steps_to_target):.1f}"
        rows.append(
            [
                *(arm.label, cells[0], in_paper, cells[1]),
                *("-" if network == INCEPTION else factor, cells[2]),
                f"{100 * printed.max_top1:.1f} %",
            ]
        )
    head = [
        *("network", f"steps to {100 * target:.1f} %: median (every seed)"),
        *("paper: steps to 72.2 %", "times fewer than Inception [95 %]", "paper"),
        *("maximum: mean (every seed)", "paper"),
    ]
    return ["**Figure 3**, here and in the paper:", "", table(head, rows)]


def _reading(data: StudyData) -> list[str]:
    """How the table came about, and how far it goes."""
    target, grid, last = target_of(data), grid_of(data), _last_step(data)
    if math.isnan(target):
        return []
    lines = [
        f"- **The target**, {100 * target:.1f} %, is the best accuracy of Inception, as in the "
        "paper: the median over its seeds of each run's maximum (of an even number of seeds the "
        "lower of the two in the middle). Maxima are taken on the validation images themselves, "
        "here as there.",
        f"- **Steps** are counted at evaluations {grid:,.0f} steps apart. Where the table says *by "
        "the grid*, the factor could be anything in that range for the resolution alone.",
    ]
    rates = _seed_by_seed(data)
    if rates:
        lines.append(
            "- **One run against one run**, as in the paper, each seed with the best of its own "
            f"Inception as the target: {rates}."
        )
    middle = float(np.median(part(data, INCEPTION).runs["best_step"].to_numpy(float)))
    if middle >= 0.8 * last:
        lines.append(
            f"- Inception is at its best at step {middle:,.0f} of {last:,.0f} (median): its best "
            f"is where its {EPOCHS_HERE} epochs end, not a limit that {EPOCHS_PAPER} epochs have "
            f"approached, and no factor above {middle / grid:,.0f} could be seen on this grid."
        )
    exact = _population(data)
    if exact:
        lines.append(exact)
    return lines


def _seed_by_seed(data: StudyData) -> str:
    inception = curves(data, INCEPTION)
    told = []
    for network in (BN_BASELINE, BN_X5, BN_X30):
        wide, factors = curves(data, network), []
        for seed in inception.index.intersection(wide.index):
            target = float(inception.loc[seed].max())
            slow, fast = (float(steps_to.at(w.loc[[seed]], target)[0]) for w in (inception, wide))
            factors.append(f"{slow / fast:.1f}" if math.isfinite(fast) else "never")
        if factors:
            told.append(f"{ARMS[network].label} {', '.join(factors)} times fewer steps")
    return "; ".join(told)


def _population(data: StudyData) -> str | None:
    """How far Algorithm 2's statistics are from the moving averages, at the end."""
    gaps = []
    for network in (BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID):
        runs, moving = part(data, network), curves(data, network)
        exact = load.curve(runs, network.experiment, split="val", statistics="population")
        for seed in exact.index.intersection(moving.index):
            gaps.append(100 * float(exact.loc[seed].iloc[-1] - moving.loc[seed].iloc[-1]))
    if not gaps:
        return None
    return (
        "- **Moving averages or Algorithm 2**: all accuracies are by moving averages. With "
        "Algorithm 2's population statistics the last one differs by "
        f"{np.mean(gaps):+.2f} points on average over {style.count(len(gaps), 'run')} with BN, by "
        f"{np.max(np.abs(gaps)):.2f} at most."
    )


def _failures_table(data: StudyData) -> list[str]:
    rows = []
    for setting, arm in FAILURES.items():
        values = best(data, setting)
        if len(values):
            points = ", ".join(f"{100 * v:.1f}" for v in values)
            rows.append([arm.label, what_happened(data, setting), f"{points} %"])
    if not rows:
        return []
    lines = [
        "**The networks that the paper reports to fail** (it says that Inception at 5 times its "
        "rate reached machine infinity, and that with sigmoids it never got beyond chance):",
        "",
        table(["network", "what happened here", "maximum accuracy, every seed"], rows),
    ]
    return [*lines, "", *_on_the_rate(data)]


def what_happened(data: StudyData, setting: Setting) -> str:
    """``2 of 3 diverged (steps 120, 400); 1 of 3 stayed at chance``."""
    runs = part(data, setting).runs
    lost = [state == "diverged" for state in runs["state"]]
    bad = failed(data, setting)
    died = [f"{int(step):,}" for step, gone in zip(runs["step"], lost, strict=True) if gone]
    counts = {
        f"diverged (at step {', '.join(died)})": len(died),
        "stayed at chance": sum(b and not d for b, d in zip(bad, lost, strict=True)),
        "trained": sum(not b for b in bad),
    }
    told = [f"{n} of {len(bad)} {words}" for words, n in counts.items() if n]
    return "; ".join(told)


def _on_the_rate(data: StudyData) -> list[str]:
    """Whether 5 times the rate fails, and what the initial weights have to do with it."""
    lines = []
    fast, own = best(data, X5), best(data, INCEPTION)
    if len(fast) and len(own):
        gap = intervals.difference(fast, own, paired=False)
        number = c.shown("_difference", gap.estimate, gap.low, gap.high)
        word = "fails here too" if all(failed(data, X5)) else "does not fail here"
        if any(failed(data, X5)) and not all(failed(data, X5)):
            word = "fails in some runs and not in others"
        lines.append(
            f"- From He's initial weights Inception at 5 times its rate {word}: its maximum "
            f"differs from that at its own rate by {number}."
        )
    small = [s for s in FAILURES if s.std is not None and len(best(data, s))]
    if any(all(failed(data, s)) for s in small):
        lines.append(
            "- A network that fails from small Gaussian weights need not fail because of the rate: "
            "this study has no run from them at Inception's own rate."
        )
    return lines


