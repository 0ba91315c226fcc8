"""The seven changes of section 4.2.1, each alone: undone in BN-x5, and made in BN-Baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, networks, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.networks import BN_BASELINE, BN_X5, CHANCE, NETWORKS
from bn_repro.analysis.readme import table
from bn_repro.analysis.tables import StudyData

TITLE = "The seven changes of section 4.2.1, each alone"
WHAT = (
    "BN-x5 is BN-Baseline with seven changes. Here each is undone alone in BN-x5, and made alone "
    "in BN-Baseline: what a change is worth among the other six, and without them. Positive "
    "always speaks for the change. A seed gives all networks the same first weights, and "
    "differences are paired by seed. A claim is decided where every seed agrees, in both "
    "directions; *Findings* says which effects stand out of the noise of seeds."
)
DEVIATIONS = """\
- The paper has no such table: it says of the seven changes together that they make BN-x5, of the \
shuffling that it is worth about 1 %, and of the others in words.
- Smaller yet than `fig3`, where the scale stands beside the paper's in full: a quarter of the \
width (0.67e6 parameters), 5,000 steps (3.2 epochs), 3 seeds. In so short a training what \
regularizes (dropout, the L2 weight, distortions) has little to prevent.
- The third seed was run for every arm after the first two had been looked at, since two decide \
nothing; the claims and their rules had been written before it.
- The stairs of the rate's decay are compressed with the length, as in `fig3`: from 31e6 steps for \
BN-Baseline and what is made of it, from 6e6 for BN-x5 and what is made of it. Decay 6 times \
faster, made alone in BN-Baseline, therefore leaves 1 % of the rate after a fifth of the run and \
nothing afterwards, as it would have in the paper; undone alone in BN-x5, it leaves half of the \
rate at the end. Both ways it is another thing than among all seven: with its own length BN-x5 has \
stairs of 44 steps and BN-Baseline of 52, so that the seven together hardly change the decay.
- Shuffling: shards are of 1,024 images, and the last one is short, so that with `fixed` too the \
mini-batches of an epoch that come after it have half of their companions from another.
- The paper does not say how much weaker its distortions became: 0.4 times, here. Its L2 weights \
and dropout (4e-5 and 8e-6, 0.4) are as in `fig3`."""
IN_SHORT = (
    "The photographs of `fig3`, a quarter of the width, 5,000 steps; the paper tells the seven "
    "together, in words."
)
CAPTIONS = {
    "figure_ablation": "What each change is worth at the last step, in points: every seed (small) "
    "and their mean. Left undone alone in BN-x5, right made alone in BN-Baseline; on top, in both, "
    "all seven. Shaded: where 19 in 20 means of changes that do nothing would lie.",
}
TRACES = False  # no figure of this study needs them


class Change(NamedTuple):
    """One change: its key and its values in BN-Baseline and in BN-x5; what the paper says of it."""

    name: str
    key: str
    before: Any
    after: Any
    sentence: str
    tolerated: float = 0.0
    """The share of the accuracy above chance that the sentence lets the change lose."""


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
        "a tenth of the accuracy above chance is lost.",
        0.1,
    ),
    Change(
        *("no local response normalization", "model.lrn", True, False),
        "Local response normalization is not necessary with BN: without it no more than a tenth "
        "of the accuracy above chance is lost.",
        0.1,
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

FASTER_DECAY = CHANGES[3]

Arm = tuple[networks.Setting, Change | None]
"""BN-x5 or BN-Baseline, as it is or with one change undone or made."""


def runs_of(data: StudyData, arm: Arm) -> StudyData:
    """The runs of one arm."""
    base, change = arm
    runs = tables.select(data.runs, experiment=base.experiment)
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
    return tables.subset(data, runs.take(np.flatnonzero(kept)))


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


def targets(data: StudyData) -> tuple[float, ...]:
    """No steps are counted: the networks of BN-Baseline hardly leave chance in so few."""
    return ()


def noise(data: StudyData, base: networks.Setting) -> tuple[float, int]:
    """The standard deviation between seeds of the final accuracy, pooled over the arms made from
    ``base`` and itself, and its degrees of freedom."""
    arms = [final(data, (base, change)).to_numpy() for change in (None, *CHANGES)]
    values = [v for v in arms if len(v) > 1]
    freedom = sum(len(v) - 1 for v in values)
    if freedom < 3:
        return math.nan, freedom
    return math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in values) / freedom), freedom


def noise_limit(data: StudyData, base: networks.Setting) -> float:
    """How far from 0 the mean effect of a change that does nothing may lie, 19 times in 20."""
    spread, freedom = noise(data, base)
    n = max((len(effects(data, change, base)) for change in CHANGES), default=0)
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
    for base, values in zip((BN_X5, BN_BASELINE), both, strict=True):
        without = final(data, pair(change, base)[0]).reindex(values.index)
        more = values + change.tolerated * (without - CHANCE)
        judged.add(c.verdict(intervals.interval(more.to_numpy()), above=0.0))
    agreed: c.Verdict = judged.pop() if len(judged) == 1 else "undecided"
    mean = intervals.interval(((both[0] + both[1]) / 2).dropna().to_numpy())
    bound = "0"
    if change.tolerated:
        bound = f"a loss of {100 * change.tolerated:g} % of what is above chance without it"
    return c.claim(
        f"{change.name.lower().replace(' ', '_')}_difference",
        change.sentence,
        "4.2.1",
        f"Validation accuracy at the last step with the change ({change.name}) minus without, "
        "paired by seed, in two directions: undone alone in BN-x5, made alone in BN-Baseline. "
        "Shown is the mean of both, with its 95 % bootstrap interval. Holds if in each direction "
        f"the interval lies above {bound}, does not hold if in each it lies "
        "below; fewer than 3 seeds decide nothing.",
        mean,
        agreed,
    )


# --- figure ---------------------------------------------------------------------------------------

SHADE = "#e4e4e4"
DIRECTIONS = {BN_X5: "undone in BN-x5", BN_BASELINE: "made in BN-Baseline"}


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_ablation``: what each change is worth, in points, a panel for each direction."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, base in zip(axes, DIRECTIONS, strict=True):
            draw_effects(ax, data, base)
        rows = ["all seven", *(f"{i}. {k.name}" for i, k in enumerate(CHANGES, start=1))]
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].set_ylim(len(rows) - 0.5, -0.6)
        return {"figure_ablation": figure}


def draw_effects(ax: Axes, data: StudyData, base: networks.Setting) -> Axes:
    """The differences of the final accuracies, in points; shaded, what seeds alone make of it."""
    limit = 100 * noise_limit(data, base)
    if not math.isnan(limit):
        ax.axvspan(-limit, limit, color=SHADE, lw=0)
    for row, change in enumerate((None, *CHANGES)):
        values = 100 * effects(data, change, base).to_numpy()
        if len(values):
            arm = NETWORKS[base] if change else style.Arm("", style.INK, "-", "D")
            _dots(ax, row, values, arm)
        ax.axhline(row + 0.5, color="#dddddd", lw=0.5 if row else 0.9)
    ax.axvline(0, color=style.INK, lw=0.8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    ax.set_xlabel("points, with the change minus without")
    ax.set_title(DIRECTIONS[base], fontsize=8)
    return ax


def _dots(ax: Axes, row: float, values: np.ndarray, arm: style.Arm) -> None:
    """One effect: every seed, joined, and their mean."""
    look: dict[str, Any] = {"color": arm.color, "marker": arm.marker, "mec": "white", "zorder": 4}
    ax.plot(values, np.full(len(values), row), color=arm.color, lw=0.9, marker="o", ms=3, alpha=0.6)
    ax.plot([values.mean()], [row], ms=5.5, **look)


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
        return cells

    head = [
        *("change", "BN-Baseline, BN-x5"),
        *("undone in BN-x5: final top-1, %", "worth, points"),
        *("made in BN-Baseline: final top-1, %", "worth, points"),
    ]
    rows = [row("none (worth: all seven)", "", None)]
    for number, k in enumerate(CHANGES, start=1):
        rows.append(row(f"{number}. {k.name}", f"{_word(k.before)}, {_word(k.after)}", k))
    return ["**Each change alone**: mean (every seed).", "", table(head, rows)]


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"`{value}`"


def _noise(data: StudyData) -> list[str]:
    limits = {base: noise_limit(data, base) for base in DIRECTIONS}
    if any(math.isnan(limit) for limit in limits.values()):
        return ["- Too few runs to tell effects from the noise of seeds."]
    told: dict[str, list[str]] = {"helps": [], "harms": []}
    for base, limit in limits.items():
        for change in CHANGES:
            values = effects(data, change, base).to_numpy()
            if len(values) and abs(values.mean()) > limit:
                how = f"{change.name} ({DIRECTIONS[base].partition(' ')[2]})"
                told["helps" if values.mean() > 0 else "harms"].append(how)
    (spread, freedom), (other, its) = (noise(data, base) for base in DIRECTIONS)
    lines = [
        f"- **Noise.** Between seeds the final accuracy has a standard deviation of "
        f"{100 * spread:.2f} points in BN-x5 and what is made of it ({freedom} degrees of "
        f"freedom), {100 * other:.2f} in BN-Baseline and what is made of it ({its}). The mean "
        f"effect of a change that does nothing lies within {100 * limits[BN_X5]:.2f} and "
        f"{100 * limits[BN_BASELINE]:.2f} points of 0, 19 times in 20 (shaded in the figure). The "
        "seven effects of a direction share the runs of its base, and err together."
    ]
    for word, names in told.items():
        if names:
            lines.append(f"- Outside of that, the change {word}: {'; '.join(names)}.")
    if not any(told.values()):
        lines.append("- No effect lies outside of that.")
    return lines


def _sums(data: StudyData) -> list[str]:
    """Whether the changes add up."""
    together, sums, decay = effects(data, None, BN_X5).to_numpy(), [], []
    for base in DIRECTIONS:
        each = [100 * effects(data, change, base).to_numpy() for change in CHANGES]
        if not len(together) or any(not len(e) for e in each):
            return []
        sums.append(float(sum(e.mean() for e in each)))
        decay.append(float(each[CHANGES.index(FASTER_DECAY)].mean()))
    return [
        f"- **Together** the seven changes are worth {100 * together.mean():+.2f} points; the sum "
        f"of the seven, each undone alone in BN-x5, is {sums[0]:+.2f}, and each made alone in "
        f"BN-Baseline {sums[1]:+.2f}. Without the faster decay, which is another thing alone than "
        f"among the seven, the sums are {sums[0] - decay[0]:+.2f} and "
        f"{sums[1] - decay[1]:+.2f}."
    ]
