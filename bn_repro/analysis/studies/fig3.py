"""Figures 2 and 3 (sec. 4.2.2): five Inceptions on ImageNet's photographs, and those that fail."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bn_repro import paper
from bn_repro.analysis import claims as c
from bn_repro.analysis import failures, intervals, networks, rates, steps_to, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.networks import BN_BASELINE, BN_SIGMOID, BN_X5, BN_X30, INCEPTION, NETWORKS
from bn_repro.analysis.readme import table
from bn_repro.analysis.tables import StudyData

TITLE = "Figures 2 and 3: Inception with and without Batch Normalization, at proxy scale"
WHAT = (
    "Section 4.2.2 of the paper: one Inception network trained five ways, compared by single-crop "
    "validation accuracy against training steps, and by the steps that each needs to the best "
    "accuracy of Inception without BN; then the networks that the paper reports to fail. Here at "
    "proxy scale: photographs of 100 classes at 64x64, half of the width, 10,000 steps, which are "
    "6.4 epochs where the paper's Inception ran for 774. *Deviations*, below, has each number "
    "beside the paper's."
)
DEVIATIONS = """\
| | the paper | here |
|---|---|---|
| images | ImageNet: 1,281,167 of 1,000 classes, 224x224 | 50,000 of 100 of its classes, 64x64: \
half of Tiny ImageNet |
| validation | 50,000 images, one crop | 5,000 images, the whole of each: an accuracy's standard \
error is up to 0.7 points for the images alone |
| network | 13.6e6 parameters | half of every width: 2.6e6; no auxiliary classifier |
| resolutions | 224 becomes 28x28 in 3a and 7x7 in 5b | the stem is the same, so 64 becomes 8x8 in \
3a and 2x2 in 5a and 5b: BN's statistics there are over 32 x 2 x 2 values, not 32 x 7 x 7 |
| length | Inception 31e6 steps (774 epochs), BN-x30 6e6 (150) | 10,000 steps (6.4 epochs) for \
every network |
| decay of the rate | GoogLeNet's 4 % every 8 epochs (320,292 steps); 6 times faster for BN-x5 and \
BN-x30 | the same stairs, compressed with the length: 31e6 steps (the paper's of Inception, \
taken for BN-Baseline too) become stairs of 103, 6e6 (BN-x30's, taken for BN-x5 and BN-x5-Sigmoid \
too) of 89, so that a network ends at 2 % or 1 % of its first rate |
| shuffling | within shards for BN-x5 and what is made of it; before it, not said | theirs: \
shards of 1,024 images in a new order each epoch, shuffled within. Inception and BN-Baseline: \
shards as they were cut once, in a new order; the last one is short, so the mini-batches after it \
have half of their companions from another |
| training | distributed (asynchronous, by the ICML version) | \
one worker, synchronous, mini-batches of 32, float32 |
| evaluations | how often is not said | every 250 steps: the resolution of every number of steps |
| runs | one of each | 3 seeds of each, or as many as *Findings* says |
| left open | momentum, L2 weight, initialisation | 0.9; 4e-5, with BN-x 8e-6; He's, and for \
Inception at 5 times its rate also small Gaussians |

The paper's own scale was tried once, on 100 full-size photographs (2026-11-20): three steps of \
BN-x5 at 224, images streamed from their files and the accuracy taken on all of them, by \
`experiment=imagenet/bn_x5 scale=paper train.steps=3 train.precision=float32`. All 100 were read, \
one grey among them; one CPU core, busy with other runs too, trained 9.7 images a second and \
waited for data 2 % of the time."""
IN_SHORT = (
    "Photographs of 100 classes at 64x64 for 1,000 at 224x224; half of the width; 10,000 steps, "
    "which are 6.4 epochs for up to 774."
)
CAPTIONS = {
    "figure2": "Single-crop validation accuracy of every seed (faint) and their median; the best "
    "accuracy of Inception (dotted), the steps at which seeds first reach it (ticks) and the "
    "median of these (large markers).",
    "figure3": "Left: how many times fewer steps than Inception each network needs to Inception's "
    "best accuracy. Right: maximum accuracy, in points above Inception's. Diamonds: the paper.",
    "figure_rates": "BN and nothing else, against none, at Inception's rate and at 5 times that: "
    "accuracy of every seed (faint) and their median. Dotted: the best without BN at that rate.",
    "figure_failures": "The networks that the paper reports to fail: accuracy and training loss; a "
    "cross where a loss ceased to be finite. Beside them, thin: Inception and BN-x5-Sigmoid.",
    "figure_signals": "What the nonlinearities see, from the first layer to the last, at the first "
    "step and at the last: standard deviation, share of large inputs, norm of the gradient.",
}
TRACES = True

EPOCHS_HERE, EPOCHS_PAPER = 6.4, 774


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    target = networks.target_of(data, INCEPTION)
    return () if math.isnan(target) else (target,)


# --- claims ---------------------------------------------------------------------------------------


STEPS_RULE = (
    "Steps: the first evaluation at or above the target, infinite if none is; the target: the "
    "median over seeds of each Inception run's best (of an even number of seeds the lower of the "
    "two in the middle)"
)
SEPARATE_RULE = "95 % bootstrap interval, each network's seeds resampled on their own"


def claims(data: StudyData) -> list[Claim]:
    """The claims of section 4.2.2, in the paper's order."""
    return [*_speed_claims(data), *_maximum_claims(data), *failures.claims(data)]


BN_ALONE = (
    "bn_baseline_speed_up_ratio",
    "BN alone (BN-Baseline) reaches Inception's best accuracy in fewer than half of the steps "
    "(paper: 2.3 times fewer).",
    *(INCEPTION, BN_BASELINE, 2.0),
)


def _speed_claims(data: StudyData) -> list[Claim]:
    told = (
        BN_ALONE,
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
    return [speed_claim(data, *each) for each in told]


def speed_claim(
    data: StudyData,
    id: str,
    sentence: str,
    slow: networks.Setting,
    fast: networks.Setting,
    bound: float,
) -> Claim:
    """``fast`` needs ``bound`` times fewer steps than ``slow`` to Inception's best, or fewer."""
    ratio = networks.speed_up(data, slow, fast, to_best_of=INCEPTION)
    rule = (
        f"{STEPS_RULE}. Median steps of {NETWORKS[slow].label} over median steps of "
        f"{NETWORKS[fast].label}; {SEPARATE_RULE}, the target with Inception's, and widened by "
        f"the grid of evaluations. Holds if the interval lies above {bound:g}, does not hold if "
        "below."
    )
    where = "4.2.2, Figures 2 and 3"
    return c.claim(id, sentence, where, rule, ratio, c.verdict(ratio, above=bound))


def _maximum_claims(data: StudyData) -> list[Claim]:
    told = (("bn_x5", BN_X5, "74.8 and 73.0 %"), ("inception", INCEPTION, "74.8 and 72.2 %"))
    return [
        maximum_claim(
            data,
            f"bn_x30_over_{name}_maximum_difference",
            f"BN-x30 reaches a higher accuracy than {NETWORKS[other].label} (paper: {numbers}).",
            *(BN_X30, other),
        )
        for name, other, numbers in told
    ]


def maximum_claim(
    data: StudyData, id: str, sentence: str, higher: networks.Setting, lower: networks.Setting
) -> Claim:
    """The best accuracy of ``higher`` lies above that of ``lower``."""
    values = networks.best(data, higher), networks.best(data, lower)
    gap = intervals.difference(*values, paired=False)
    rule = (
        f"Maximum single-crop validation accuracy of {NETWORKS[higher].label} minus that of "
        f"{NETWORKS[lower].label}: difference of means; {SEPARATE_RULE}. Holds if the interval "
        "lies above 0, does not hold if below."
    )
    return c.claim(id, sentence, "4.2.2, Figure 3", rule, gap, c.verdict(gap, above=0.0))


# --- figures --------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure2`` and ``figure3`` as in the paper; ``figure_rates``, ``figure_failures`` and
    ``figure_signals`` to explain them."""
    with style.context():
        drawn = {"figure2": _figure2(data), "figure3": _figure3(data)}
        drawn["figure_rates"] = rates.figure(data)
        drawn["figure_failures"] = failures.figure(data)
        if not data.traces.empty:
            drawn["figure_signals"] = failures.figure_signals(data)
        return drawn


def _figure2(data: StudyData) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    draw_accuracy(figure.subplots(), data)
    return figure


def draw_accuracy(ax: Axes, data: StudyData) -> Axes:
    """Figure 2: accuracy against steps; a large marker where each first reaches the target."""
    target, ends = networks.target_of(data, INCEPTION), {}
    for network, arm in NETWORKS.items():
        wide = networks.curves(data, network)
        style.plot_curves(ax, wide, arm, markers=8)
        if wide.size:
            ends[arm.label] = (float(wide.iloc[:, -1].median()), arm.color)
    ax.set_xlim(0, networks.last_step(data))
    ax.set_ylim(0, None)
    if not math.isnan(target):
        ax.axhline(target, color=style.INK, lw=0.7, ls=(0, (1, 2)), zorder=1)
        _mark_crossings(ax, data, target)
        ax.set_title(
            f"dotted: Inception's best, {100 * target:.1f} %; ticks: where each seed first reaches "
            "it; large markers: the median of these steps",
            **{"fontsize": 7.5, "fontweight": "normal"},
        )
    networks.label_ends(style.steps_axis(networks.percent_axis(ax)), ends)
    ax.set_ylabel("single-crop validation accuracy")
    return ax


def _mark_crossings(ax: Axes, data: StudyData, target: float) -> None:
    """Every seed's first step at the target as a tick, and each median as a large marker; of those
    that arrive together the later in ``NETWORKS`` lies smaller upon the earlier."""
    drawn = {arm: networks.curves(data, network) for network, arm in NETWORKS.items()}
    steps = {arm: steps_to.at(wide, target) for arm, wide in drawn.items() if wide.size}
    middles = {arm: float(np.median(found)) for arm, found in steps.items()}
    at = list(middles.values())
    for place, (arm, middle) in enumerate(middles.items()):
        known = steps[arm][np.isfinite(steps[arm])]
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
                **{"marker": arm.marker, "mfc": arm.color, "mec": style.INK, "mew": 0.9},
                ms=8 + 6 * at[place + 1 :].count(middle),
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
    ax: Axes,
    row: float,
    values: np.ndarray,
    found: Interval,
    arm: style.Arm,
    printed: float | None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """One network: the interval and its estimate, every seed below, the paper's number above."""
    if found.high > found.low:
        ax.plot(np.clip([found.low, found.high], *limits), [row, row], color=arm.color, lw=1.4)
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
    target, last = networks.target_of(data, INCEPTION), networks.last_step(data)
    ours = networks.curves(data, INCEPTION)
    reference = float(np.median(steps_to.at(ours, target))) if ours.size else math.nan
    limit = max(25.0, 1.25 * reference / networks.grid_of(data)) if ours.size else 25.0
    for row, (network, arm) in enumerate(NETWORKS.items()):
        wide = networks.curves(data, network)
        printed = paper.FIGURE3[network.experiment].steps_to_target
        words = ["paper: never" if printed is None else f"paper: {printed / 1e6:g}M steps"]
        values, found = np.array([]), Interval(math.nan, math.nan, math.nan, 0)
        if wide.size and ours.size:
            steps = steps_to.at(wide, target)
            words = [f"{steps_to.shown(float(np.median(steps)), last)} steps", *words]
            values = reference / steps[np.isfinite(steps)]
            if network == INCEPTION:
                found = Interval(1.0, math.nan, math.nan, len(steps))
            elif np.isfinite(np.median(steps)):
                found = networks.speed_up(data, INCEPTION, network, to_best_of=INCEPTION)
        factor = None if printed is None else _paper_factor(printed)
        _dots(ax, row, values, found, arm, factor, (1e-3, limit))
        _note(ax, row, "\n".join(words))
    ax.set_xscale("log")
    ax.set_xlim(min(0.8, 0.8 * ax.get_xlim()[0]), limit)
    ax.xaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20, 50]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
    ax.set_xlabel("times fewer steps than Inception")
    reached = f" ({100 * target:.1f} % here, 72.2 % there)" if ours.size else ""
    ax.set_title(f"to Inception's best{reached}", fontsize=7.5)
    return ax


def _paper_factor(steps: float) -> float:
    slow = paper.FIGURE3[INCEPTION.experiment].steps_to_target
    assert slow is not None
    return slow / steps


def draw_maximum(ax: Axes, data: StudyData) -> Axes:
    """Maximum accuracy, in points above Inception's."""
    reference = networks.best(data, INCEPTION)
    base = paper.FIGURE3[INCEPTION.experiment].max_top1
    for row, network in enumerate(NETWORKS):
        values, printed = networks.best(data, network), paper.FIGURE3[network.experiment].max_top1
        words = [f"paper: {100 * printed:.1f} %"]
        if len(values) and len(reference):
            gap = intervals.difference(values, reference, paired=False)
            if row == 0:
                gap = Interval(0.0, math.nan, math.nan, len(values))
            found = Interval(100 * gap.estimate, 100 * gap.low, 100 * gap.high, gap.n)
            shown = 100 * (values - reference.mean())
            _dots(ax, row, shown, found, NETWORKS[network], 100 * (printed - base))
        if len(values):
            words = [f"{100 * values.mean():.1f} %", *words]
        _note(ax, row, "\n".join(words))
    ax.axvline(0, color=style.INK, lw=0.7, ls=(0, (1, 2)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    ax.set_xlabel("points above Inception's")
    ax.set_title("maximum accuracy", fontsize=7.5)
    return ax


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """The best accuracies beside the paper's; markdown."""
    told = [
        f"{arm.label} {100 * best.mean():.1f} % "
        f"({100 * paper.FIGURE3[network.experiment].max_top1:.1f})"
        for network, arm in NETWORKS.items()
        if len(best := networks.best(data, network))
    ]
    return f"Best validation accuracy, mean over seeds (in the paper): {', '.join(told)}."


def findings(data: StudyData) -> str:
    """Figure 3's table beside the paper's, and what became of the failures; markdown."""
    lines = []
    arms = NETWORKS | failures.FAILURES | failures.CONTROLS | rates.SAME_RATE
    gone = networks.missing(data, arms)
    if gone:
        lines += [f"**Not finished:** {', '.join(gone)}. What follows is from the runs so far.", ""]
    lines += [*_figure3_table(data), "", *_reading(data), "", *failures.findings(data)]
    return "\n".join(lines)


def _figure3_table(data: StudyData) -> list[str]:
    target, last = networks.target_of(data, INCEPTION), networks.last_step(data)
    if math.isnan(target):
        return ["Without a run of Inception there is no target to count steps to."]
    rows = []
    for network, arm in NETWORKS.items():
        printed = paper.FIGURE3[network.experiment]
        wide = networks.curves(data, network)
        ratio = networks.speed_up(data, INCEPTION, network, to_best_of=INCEPTION)
        cells = ["-", "-", "-"]
        if wide.size:
            steps = steps_to.at(wide, target)
            middle = float(np.median(steps))
            every = ", ".join(steps_to.shown(s, last) for s in np.sort(steps))
            cells[0] = f"{steps_to.shown(middle, last)} ({every})"
            if network != INCEPTION and np.isfinite(middle):
                cells[1] = c.shown("_", ratio.estimate, ratio.low, ratio.high)
            values = networks.best(data, network)
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
    target, grid = networks.target_of(data, INCEPTION), networks.grid_of(data)
    last = networks.last_step(data)
    if math.isnan(target):
        return []
    lines = [
        f"- **The target**, {100 * target:.1f} %, is the best accuracy of Inception, as in the "
        "paper: the median over its seeds of each run's maximum (of an even number of seeds the "
        "lower of the two in the middle). Maxima are taken on the validation images themselves, "
        "here as there.",
        f"- **Steps** are counted at evaluations {grid:,.0f} steps apart, and the intervals of the "
        f"factors are widened by what that leaves open: a run counted at {10 * grid:,.0f} may have "
        f"been there from {9 * grid + 1:,.0f} on.",
        "- **Few seeds.** Seeds of two networks are not paired: the same first weights say little "
        "after thousands of steps. With 3 seeds each, an interval lies on a given side of equality "
        "only where every seed of the one is on that side of every seed of the other, which chance "
        "alone does 1 time in 20.",
    ]
    factors = _seed_by_seed(data)
    if factors:
        lines.append(
            "- **One run against one run**, as in the paper, each seed with the best of its own "
            f"Inception as the target: {factors}."
        )
    at_best = networks.part(data, INCEPTION).runs["best_step"].dropna().to_numpy(float)
    if len(at_best) and np.median(at_best) >= 0.75 * last:
        slow = float(np.median(steps_to.at(networks.curves(data, INCEPTION), target)))
        lines.append(
            f"- Inception is at its best at step {', '.join(f'{s:,.0f}' for s in at_best)} of "
            f"{last:,.0f}: late in its {EPOCHS_HERE} epochs (the paper's ran for {EPOCHS_PAPER}), "
            "so the target, and every factor with it, hangs on the length of the runs. No factor "
            f"above {slow / grid:,.0f} could be seen on this grid."
        )
    more = [_never(data), _overtaking(data), _sigmoid(data), *rates.findings(data)]
    return [*lines, *(line for line in (*more, _population(data)) if line)]


def _never(data: StudyData) -> str | None:
    """What a factor of infinity leaves open, where BN-Baseline does not arrive."""
    target, last = networks.target_of(data, INCEPTION), networks.last_step(data)
    arms = INCEPTION, BN_BASELINE, BN_X5
    wide = [networks.curves(data, network) for network in arms]
    if any(w.empty for w in wide):
        return None
    slow, baseline, fast = (float(np.median(steps_to.at(w, target))) for w in wide)
    if np.isfinite(baseline) or not np.isfinite(fast):
        return None
    return (
        f"- **Never is not infinity**: BN-Baseline is not there after {last:,.0f} steps, which "
        f"says that BN alone makes it less than {slow / last:.2f} times as fast as Inception, and "
        f"BN-x5 is more than {last / fast:.1f} times as fast as BN-Baseline, not how much."
    )


def _sigmoid(data: StudyData) -> str | None:
    """BN-x5-Sigmoid beside BN-x5: the paper's is behind it."""
    gap = intervals.difference(
        networks.best(data, BN_SIGMOID), networks.best(data, BN_X5), paired=False
    )
    if not gap.n:
        return None
    sigmoid, relu = (paper.FIGURE3[n.experiment].max_top1 for n in (BN_SIGMOID, BN_X5))
    return (
        "- **BN-x5-Sigmoid against BN-x5**: its maximum differs by "
        f"{c.shown('_difference', gap.estimate, gap.low, gap.high)} (paper: "
        f"{100 * (sigmoid - relu):+.1f}, and it never gets to Inception's best)."
    )


def _overtaking(data: StudyData) -> str | None:
    """From where on BN-x30 is ahead of BN-x5."""
    fast, slow = (networks.curves(data, network).median() for network in (BN_X30, BN_X5))
    if fast.empty or slow.empty:
        return None
    behind = (fast <= slow).to_numpy()
    if behind[-1]:
        return "- **BN-x30 against BN-x5**: the median of BN-x30 does not end ahead."
    since = "from the first evaluation on"
    if behind.any():
        since = f"from step {fast.index[np.flatnonzero(behind)[-1] + 1]:,} on"
    return f"- **BN-x30 against BN-x5**: the median of BN-x30 is ahead {since}."


def _seed_by_seed(data: StudyData) -> str:
    inception = networks.curves(data, INCEPTION)
    told = []
    for network in (BN_BASELINE, BN_X5, BN_X30):
        wide, factors = networks.curves(data, network), []
        for seed in inception.index.intersection(wide.index):
            target = float(inception.loc[seed].max())
            slow, fast = (float(steps_to.at(w.loc[[seed]], target)[0]) for w in (inception, wide))
            factors.append(f"{slow / fast:.1f}" if math.isfinite(fast) else "never")
        if set(factors) == {"never"}:
            told.append(f"{NETWORKS[network].label} never arrives")
        elif factors:
            told.append(f"{NETWORKS[network].label} {', '.join(factors)} times fewer steps")
    return "; ".join(told)


def _population(data: StudyData) -> str | None:
    """How far Algorithm 2's statistics are from the moving averages, at the end."""
    gaps = []
    for network in (BN_BASELINE, BN_X5, BN_X30, BN_SIGMOID):
        runs, moving = networks.part(data, network), networks.curves(data, network)
        exact = tables.curve(runs, network.experiment, split="val", statistics="population")
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
