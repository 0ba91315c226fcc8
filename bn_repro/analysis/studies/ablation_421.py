"""The seven changes of section 4.2.1, each alone: undone in BN-x5, and made in BN-Baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, load, networks, steps_to, style
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.load import StudyData
from bn_repro.analysis.networks import BN_BASELINE, BN_X5, CHANCE, NETWORKS
from bn_repro.analysis.readme import table

TITLE = "The seven changes of section 4.2.1, each alone"
WHAT = (
    "BN-x5 is BN-Baseline with seven changes. Here each is undone alone in BN-x5, and made alone "
    "in BN-Baseline: what a change is worth among the other six, and without them. Positive "
    "always speaks for the change. A seed gives all networks the same first weights, and "
    "differences are paired by seed."
)
DEVIATIONS = """\
- The paper has no such table: it says of the seven changes together that they make BN-x5, of the \
shuffling that it is worth about 1 %, and of the others in words.
- Smaller yet than `fig3`, where the scale stands beside the paper's in full: a quarter of the \
width (0.67e6 parameters), 5,000 steps (3.2 epochs), 2 seeds. In so short a training what \
regularizes (dropout, the L2 weight, distortions) has little to prevent.
- The stairs of the rate's decay are compressed with the length, as in `fig3`: from 31e6 steps for \
BN-Baseline and what is made of it, from 6e6 for BN-x5 and what is made of it. Decay 6 times \
faster, made alone in BN-Baseline, therefore leaves 1 % of the rate after a fifth of the run and \
nothing afterwards, as it would have in the paper; undone alone in BN-x5, it leaves half of the \
rate at the end.
- The paper does not say how much weaker its distortions became: 0.4 times, here. Its L2 weights \
and dropout (4e-5 and 8e-6, 0.4) are as in `fig3`."""
IN_SHORT = (
    "The photographs of `fig3`, a quarter of the width, 5,000 steps; the paper tells the seven "
    "together, in words."
)
CAPTIONS = {
    "figure_ablation": "What each change is worth, undone alone in BN-x5 and made alone in "
    "BN-Baseline: in points of final accuracy, and in steps to BN-Baseline's best. Shaded: what "
    "seeds alone make of it. At the edge an arrow: a seed with which only one of the two networks "
    "gets there, to the right the one with the change.",
}
TRACES = False  # no figure of this study needs them


class Change(NamedTuple):
    """One change: its key and its values in BN-Baseline and in BN-x5; what the paper says of it."""

    name: str
    key: str
    before: Any
    after: Any
    sentence: str
    worth: float = 0.0  # the effect that the sentence asks for: more than this


CHANGES = (
    Change(
        *("higher learning rate", "optimizer.lr", 0.0015, 0.0075),
        "With BN a higher learning rate trains better.",
    ),
    Change(
        *("no dropout", "model.dropout", 0.4, 0.0),
        "Without dropout the network with BN trains better.",
    ),
    Change(
        *("L2 weight 5 times smaller", "optimizer.weight_decay", 4e-5, 8e-6),
        "A smaller L2 weight improves the accuracy on validation images.",
    ),
    Change(
        *("decay 6 times faster", "optimizer.decay_speed", 1, 6),
        "The learning rate can decay 6 times faster, since the network trains faster: no more than "
        "a point is lost.",
        -0.01,
    ),
    Change(
        *("no local response normalization", "model.lrn", True, False),
        "Local response normalization is not necessary with BN: without it no more than a point "
        "is lost.",
        -0.01,
    ),
    Change(
        *("more thorough shuffling", "data.shuffling", "fixed", "within_shard"),
        "More thorough shuffling improves validation accuracy (paper: by about 1 point).",
    ),
    Change(
        *("weaker distortions", "data.photometric", "full", "reduced"),
        "Weaker photometric distortions, and so more real images, are better.",
    ),
)

Arm = tuple[networks.Setting, Change | None]
"""BN-x5 or BN-Baseline, as it is or with one change undone or made."""


def runs_of(data: StudyData, arm: Arm) -> StudyData:
    """The runs of one arm."""
    base, change = arm
    runs = load.select(data.runs, experiment=base.experiment)
    columns = {
        k.key: runs[k.key].tolist() if k.key in runs else [None] * len(runs) for k in CHANGES
    }
    kept = []
    for row in range(len(runs)):
        changed = []
        for k in CHANGES:
            value, own = columns[k.key][row], k.after if base == BN_X5 else k.before
            if value is not None and value == value and value != own:  # not NaN either
                changed.append(k)
        kept.append(changed == ([] if change is None else [change]))
    return load.subset(data, runs.take(np.flatnonzero(kept)))


def curves(data: StudyData, arm: Arm) -> pd.DataFrame:
    """Single-crop validation accuracy, seed by step; a diverged run counts as chance."""
    return load.curve(runs_of(data, arm), arm[0].experiment, split="val", diverged=CHANCE)


def final(data: StudyData, arm: Arm) -> pd.Series:
    """Accuracy at the last step, by seed."""
    runs = runs_of(data, arm).runs
    lost = np.array([state == "diverged" for state in runs["state"]], dtype=bool)
    top1 = runs["final_top1"].to_numpy(float)
    return pd.Series(np.where(lost, CHANCE, top1), runs["seed"].tolist(), dtype=float)


def pair(change: Change | None, base: networks.Setting) -> tuple[Arm, Arm]:
    """(without, with) a change: in BN-x5 it is undone, in BN-Baseline made; None: all seven."""
    if change is None:
        return (BN_BASELINE, None), (BN_X5, None)
    plain, other = (base, None), (base, change)
    return (other, plain) if base == BN_X5 else (plain, other)


def effects(data: StudyData, change: Change | None, base: networks.Setting) -> pd.Series:
    """What the change is worth at the last step, by seed: the accuracy with it minus without."""
    without, with_it = (final(data, arm) for arm in pair(change, base))
    return (with_it - without).dropna()


def target_of(data: StudyData) -> float:
    """The best accuracy of BN-Baseline: of its typical run; NaN without one."""
    return networks.target_of(runs_of(data, (BN_BASELINE, None)), BN_BASELINE)


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    target = target_of(data)
    return () if math.isnan(target) else (target,)


def speed_ups(data: StudyData, change: Change | None, base: networks.Setting) -> pd.Series:
    """How many times fewer steps to BN-Baseline's best the change makes it, by seed."""
    target = target_of(data)
    tables = [curves(data, arm) for arm in pair(change, base)]
    if math.isnan(target) or any(wide.empty for wide in tables):
        return pd.Series(dtype=float)
    without, with_it = (pd.Series(steps_to.at(w, target), w.index) for w in tables)
    return (without / with_it).dropna()  # where neither arrives there is nothing to say


def noise(data: StudyData) -> tuple[float, int]:
    """The standard deviation between seeds of the final accuracy, pooled over all arms, and its
    degrees of freedom."""
    arms = [(base, change) for base in (BN_X5, BN_BASELINE) for change in (None, *CHANGES)]
    values = [v for v in (final(data, arm).to_numpy() for arm in arms) if len(v) > 1]
    freedom = sum(len(v) - 1 for v in values)
    if freedom < 3:
        return math.nan, freedom
    return math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in values) / freedom), freedom


def noise_limit(data: StudyData) -> float:
    """How far from 0 the mean effect of a change that does nothing may lie, 19 times in 20."""
    spread, freedom = noise(data)
    seeds = [len(effects(data, ch, base)) for ch in CHANGES for base in (BN_X5, BN_BASELINE)]
    n = max(seeds, default=0)
    if math.isnan(spread) or not n:
        return math.nan
    return intervals.student_quantile(0.975, freedom) * spread * math.sqrt(2 / n)


# --- claims ---------------------------------------------------------------------------------------


def claims(data: StudyData) -> list[Claim]:
    """All seven changes together, and each in both directions."""
    together = intervals.interval(effects(data, None, BN_X5).to_numpy())
    found = [
        c.claim(
            "all_seven_difference",
            "All seven changes together (BN-x5 over BN-Baseline) train better.",
            "4.2.1, 4.2.2",
            "Validation accuracy at the last step, BN-x5 minus BN-Baseline, paired by seed: mean "
            "with its 95 % bootstrap interval. Holds if the interval lies above 0, does not hold "
            "if below; fewer than 3 seeds decide nothing.",
            together,
            c.verdict(together, above=0.0),
        )
    ]
    return found + [_claim(data, change) for change in CHANGES]


def _claim(data: StudyData, change: Change) -> Claim:
    both = [effects(data, change, base) for base in (BN_X5, BN_BASELINE)]
    judged: set[c.Verdict] = set()
    for values in both:
        judged.add(c.verdict(intervals.interval(values.to_numpy()), above=change.worth))
    agreed: c.Verdict = judged.pop() if len(judged) == 1 else "undecided"
    mean = intervals.interval(((both[0] + both[1]) / 2).dropna().to_numpy())
    return c.claim(
        f"{change.name.lower().replace(' ', '_')}_difference",
        change.sentence,
        "4.2.1",
        f"Validation accuracy at the last step with the change ({change.name}) minus without, "
        "paired by seed, in two directions: undone alone in BN-x5, made alone in BN-Baseline. "
        "Shown is the mean of both, with its 95 % bootstrap interval. Holds if in each direction "
        f"the interval lies above {100 * change.worth:g} points, does not hold if in each it lies "
        "below; fewer than 3 seeds decide nothing.",
        mean,
        agreed,
    )


# --- figure ---------------------------------------------------------------------------------------

UNDONE = style.Arm("undone in BN-x5", NETWORKS[BN_X5].color, "-", "o")
MADE = style.Arm("made in BN-Baseline", NETWORKS[BN_BASELINE].color, "-", "^")
SHADE = "#e4e4e4"
DIRECTIONS = {BN_X5: (UNDONE, -0.16), BN_BASELINE: (MADE, 0.16)}


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_ablation``: what each change is worth, in points and in steps."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.2, 1.0])
        draw_effects(left, data)
        draw_speed_ups(right, data)
        rows = ["all seven", *(f"{i}. {k.name}" for i, k in enumerate(CHANGES, start=1))]
        left.set_yticks(range(len(rows)), rows)
        left.get_yticklabels()[0].set_fontweight("bold")
        left.set_ylim(len(rows) - 0.5, -0.6)
        for ax in (left, right):
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="y", visible=False)
            for row in range(len(rows) - 1):
                ax.axhline(row + 0.5, color="#dddddd", lw=0.5 if row else 0.9)
        handles = [
            left.plot([], [], ls="none", marker=arm.marker, color=arm.color, ms=5.5)[0]
            for arm, _ in DIRECTIONS.values()
        ]
        handles += left.plot([], [], "o", color=style.INK, ms=3, alpha=0.5, mew=0)
        names = [*(f"{arm.label}, mean" for arm, _ in DIRECTIONS.values()), "every seed"]
        if not math.isnan(noise_limit(data)):
            handles += left.fill([], [], color=SHADE, lw=0)
            names += ["19 in 20 means of no effect"]
        figure.legend(handles, names, loc="outside lower center", ncols=4, handletextpad=0.4)
        return {"figure_ablation": figure}


def _dots(ax: Axes, row: float, values: np.ndarray, middle: float, arm: style.Arm) -> None:
    """One effect: every seed, joined, and the middle where there is one."""
    ax.plot(values, np.full(len(values), row), color=arm.color, lw=0.9, alpha=0.6)
    ax.plot(
        values,
        np.full(len(values), row),
        **{"ls": "none", "marker": "o", "ms": 3, "color": arm.color, "alpha": 0.5, "mew": 0},
    )
    look: dict[str, Any] = {"marker": arm.marker, "ms": 5.5, "color": arm.color, "mec": "white"}
    ax.plot([middle], [row], **look, zorder=4)


def draw_effects(ax: Axes, data: StudyData) -> Axes:
    """The difference of the final accuracies, in points; shaded, what seeds alone make of it."""
    limit = noise_limit(data)
    if not math.isnan(limit):
        ax.axvspan(-100 * limit, 100 * limit, color=SHADE, lw=0)
    values = 100 * effects(data, None, BN_X5).to_numpy()
    if len(values):
        _dots(ax, 0, values, float(values.mean()), style.Arm("", style.INK, "-", "D"))
    for row, change in enumerate(CHANGES, start=1):
        for base, (arm, shift) in DIRECTIONS.items():
            values = 100 * effects(data, change, base).to_numpy()
            if len(values):
                _dots(ax, row + shift, values, float(values.mean()), arm)
    ax.axvline(0, color=style.INK, lw=0.8)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    ax.set_xlabel("points, with the change minus without")
    ax.set_title("final accuracy", fontsize=8)
    return ax


def draw_speed_ups(ax: Axes, data: StudyData) -> Axes:
    """Steps to BN-Baseline's best without the change over those with it; at the edge an arrow where
    only one of the two arrives."""
    found = {
        (row, base): speed_ups(data, change, base).to_numpy()
        for row, change in enumerate((None, *CHANGES))
        for base in ([BN_X5] if change is None else DIRECTIONS)
    }
    finite = [x for values in found.values() for x in values if 0 < x < math.inf]
    low, high = min([0.5, *finite]) / 1.3, 1.3 * max([2.0, *finite])
    for (row, base), values in found.items():
        arm, shift = DIRECTIONS[base]
        if row == 0:
            arm, shift = style.Arm("", style.INK, "-", "D"), 0.0
        for x, end, mark in ((math.inf, high, ">"), (0.0, low, "<")):
            if np.any(values == x):  # only one of the two arrives: beyond the axis
                ax.plot([end], [row + shift], mark, color=arm.color, ms=5, clip_on=False, zorder=5)
        known = values[(values > 0) & np.isfinite(values)]
        middle = np.exp(np.log(known).mean()) if len(known) == len(values) > 0 else math.nan
        _dots(ax, row + shift, known, float(middle), arm)
    ax.axvline(1, color=style.INK, lw=0.8)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
    target = target_of(data)
    reached = "" if math.isnan(target) else f", {100 * target:.1f} %"
    ax.set_xlabel("times fewer steps with the change")
    ax.set_title(f"steps to BN-Baseline's best{reached}", fontsize=8)
    return ax


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """What the seven are worth together, and the sum of each alone; markdown."""
    return " ".join(_sums(data)).removeprefix("- ")


def findings(data: StudyData) -> str:
    """The changes as a table, and which of them stand out of the seeds' noise; markdown."""
    lines = []
    gone = _missing(data)
    if gone:
        lines += [f"**Not finished:** {', '.join(gone)}. What follows is from the runs so far.", ""]
    return "\n".join([*lines, *_table(data), "", *_noise(data), *_sums(data)])


def _missing(data: StudyData) -> list[str]:
    found = []
    for base in (BN_X5, BN_BASELINE):
        for change in (None, *CHANGES):
            runs = len(runs_of(data, (base, change)).runs)
            most = len({member.seed for member in data.members})
            if runs < most:
                words = NETWORKS[base].label
                if change is not None:
                    words += f" with {change.name} {'undone' if base == BN_X5 else 'made'}"
                found.append(f"{words} ({runs} of {style.count(most, 'seed')})")
    return found


def _points(values: Sequence[float] | np.ndarray, sign: bool = True) -> str:
    """``+1.20 (+1.10, +1.30)``: the mean and every seed."""
    if not len(values):
        return "-"
    form = "{:+.2f}" if sign else "{:.1f}"
    every = ", ".join(form.format(100 * v) for v in values)
    return f"{form.format(100 * np.mean(values))} ({every})"


def _table(data: StudyData) -> list[str]:
    target, last = target_of(data), networks.last_step(data)

    def row(name: str, values: str, change: Change | None) -> list[str]:
        cells = [name, values]
        for base in (BN_X5, BN_BASELINE):
            arm = (base, change)
            cells.append(_points(final(data, arm).to_numpy(), sign=False))
            if change is not None:
                cells.append(_points(effects(data, change, base).to_numpy()))
            elif base == BN_X5:
                cells.append(_points(effects(data, None, base).to_numpy()))
            else:
                cells.append("")
            wide, steps = curves(data, arm), "-"
            if wide.size and not math.isnan(target):
                steps = ", ".join(steps_to.shown(s, last) for s in steps_to.at(wide, target))
            cells.append(steps)
        return cells

    head = [
        *("change", "BN-Baseline, BN-x5"),
        *("undone in BN-x5: final top-1, %", "worth, points", "steps"),
        *("made in BN-Baseline: final top-1, %", "worth, points", "steps"),
    ]
    rows = [row("none (worth: all seven)", "", None)]
    for number, k in enumerate(CHANGES, start=1):
        rows.append(row(f"{number}. {k.name}", f"{_word(k.before)}, {_word(k.after)}", k))
    reached = "" if math.isnan(target) else f", {100 * target:.1f} %"
    return [
        "**Each change alone**: mean (every seed); steps are those of every seed to the best "
        f"accuracy of BN-Baseline{reached}.",
        "",
        table(head, rows),
    ]


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"`{value}`"


def _noise(data: StudyData) -> list[str]:
    (spread, freedom), limit = noise(data), noise_limit(data)
    if math.isnan(limit):
        return ["- Too few runs to tell effects from the noise of seeds."]
    told: dict[str, list[str]] = {"helps": [], "harms": []}
    count = 0
    for base, how in ((BN_X5, "in BN-x5"), (BN_BASELINE, "in BN-Baseline")):
        for change in CHANGES:
            values = effects(data, change, base).to_numpy()
            count += bool(len(values))
            if len(values) and abs(values.mean()) > limit:
                told["helps" if values.mean() > 0 else "harms"].append(f"{change.name} ({how})")
    lines = [
        f"- **Noise.** Between seeds the final accuracy has a standard deviation of "
        f"{100 * spread:.2f} points, pooled over all arms ({freedom} degrees of freedom). If that "
        "is the same everywhere, the mean effect of a change that does nothing lies within "
        f"{100 * limit:.2f} points of 0, 19 times in 20 (shaded in the figure); of {count} such "
        f"effects {count / 20:.1f} would lie outside by chance."
    ]
    for word, names in told.items():
        if names:
            lines.append(f"- Outside of that, the change {word}: {'; '.join(names)}.")
    if not any(told.values()):
        lines.append("- No effect lies outside of that.")
    return lines


def _sums(data: StudyData) -> list[str]:
    """Whether the changes add up."""
    together = effects(data, None, BN_X5).to_numpy()
    sums = []
    for base in (BN_X5, BN_BASELINE):
        each = [effects(data, change, base).to_numpy() for change in CHANGES]
        if not len(together) or any(not len(e) for e in each):
            return []
        sums.append(100 * sum(float(e.mean()) for e in each))
    return [
        f"- **Together** the seven changes are worth {100 * together.mean():+.2f} points; the sum "
        f"of the seven, each undone alone in BN-x5, is {sums[0]:+.2f}, and each made alone in "
        f"BN-Baseline {sums[1]:+.2f}."
    ]
