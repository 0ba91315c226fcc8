"""Figure 4 (sec. 4.2.3): BN-x30 by a single crop and by 144, and an ensemble of six."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro import paper
from bn_repro.analysis import claims as c
from bn_repro.analysis import ensembles, intervals, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.readme import table
from bn_repro.analysis.tables import KEY, Member, StudyData

TITLE = "Figure 4: many crops, and an ensemble of six, at proxy scale"
WHAT = (
    "Section 4.2.3 of the paper: BN-x30 by a single crop and by GoogLeNet's 144, and an ensemble "
    "of six networks based on BN-x30, each with some of three changes: larger initial weights in "
    "the convolutions, 5 or 10 % dropout, and BN per activation in the last Inception modules. A "
    "prediction is the arithmetic mean of class probabilities, over crops and over networks."
)
DEVIATIONS = """\
- Photographs of 100 classes at 64x64, half of the width and 10,000 steps, as in `fig3`, where the \
scale stands beside the paper's in full: the errors are not the paper's, what lowers them can be.
- The paper does not say which of its six networks had which change. Here each change is made \
alone once, two at once twice, and all three once, with another seed each, chosen before any run.
- Larger initial weights are twice He's. With BN that leaves the function as it is, and makes a \
step 4 times smaller relative to the weights (sec. 3.3): a network begins as if at BN-x7.5.
- The paper took each network at its maximum accuracy on the validation images; here each is taken \
at its last step, so that nothing is chosen on the images that judge it.
- The 144 crops are GoogLeNet's with sizes in proportion (73, 82, 91 and 101 for 256 to 352). The \
photographs are square, so its three squares are one, and 48 crops have the mean of the 144. The \
single crop is the whole image.
- BN normalizes by its moving averages; Algorithm 2's statistics are under *Findings*."""
IN_SHORT = (
    "The photographs and networks of `fig3`; networks at their last step, where the paper took "
    "each at its maximum on the images that judge it."
)
CAPTIONS = {
    "figure4": "(a) Top-1 error of each network by one crop and by 144, and of the ensemble; (b, "
    "c) top-1 and top-5 error of all ensembles of 1 to 6 of the networks, and their mean.",
}
INTERVALS = (
    "Intervals are 95 % bootstrap intervals: for the crops over networks (n of them, each with "
    "itself), for the ensemble over the seeds of BN-x30 (n of them), since there is one ensemble "
    "of six; they say nothing of what six other networks would do. Under *Findings* they are over "
    "the validation images. Every network is in the figure."
)
BETWEEN = ("python scripts/evaluate.py study=fig4",)
TRACES = False
EXTRA = "evaluations.csv"

SINGLE, MULTI = 1, 144
WAYS = {SINGLE: style.Arm("single crop", "#e6912e", (0, (4.5, 1.4)), "s")}
WAYS[MULTI] = style.Arm("144 crops", "#8e1652", "-", "o")


def targets(data: StudyData) -> tuple[float, ...]:
    """No steps are counted."""
    return ()


# --- rows -----------------------------------------------------------------------------------------


def six(members: Sequence[Member]) -> list[Member]:
    """The networks of the ensemble: those that change something of BN-x30."""
    return [member for member in members if member.varied]


def equals(members: Sequence[Member]) -> list[Member]:
    """BN-x30 itself, from several seeds: networks that are equally good."""
    return [member for member in members if not member.varied]


def extra(members: Sequence[Member], committed: pd.DataFrame) -> pd.DataFrame:
    """A row per network and evaluation of it, and per subset of the ensemble's networks."""
    return ensembles.table(members, [six(members), equals(members)], committed)


class Network(NamedTuple):
    """A network, and for each number of crops its errors {"top1", "top5"} (top5 may be NaN)."""

    member: Member
    label: str
    errors: dict[int, dict[str, float]]


def networks(data: StudyData) -> list[Network]:
    """The networks that were evaluated, in the study's order."""
    found = []
    for m in data.members:
        own = _rows(data, experiment=m.experiment, id=m.id, seed=m.seed)
        errors = {int(r["crops"]): {"top1": r["top1"], "top5": r["top5"]} for r in own}
        if errors:
            found.append(Network(m, _label(m), errors))
    return found


def subsets(
    data: StudyData, crops: int, of: Callable[[Sequence[Member]], list[Member]] = six
) -> list[dict[str, Any]]:
    """The rows of the ensembles of 1, 2, ... of the six, with errors for accuracies."""
    name = ensembles.name_of(of(data.members))
    return _rows(data, experiment=ensembles.NAME, id=name, crops=crops)


def whole(data: StudyData, crops: int) -> dict[str, Any] | None:
    """The row of the ensemble of all six; None where it was not evaluated."""
    return max(subsets(data, crops), key=lambda row: row["models"], default=None)


def _rows(data: StudyData, **which: Any) -> list[dict[str, Any]]:
    """Rows of evaluations by moving averages, "top1" and "top5" as errors."""
    frame = data.extra.reindex(columns=ensembles.COLUMNS)
    rows: list[Any] = tables.select(frame, statistics="moving", **which).to_dict("records")
    return [row | {name: 1 - float(row[name]) for name in ("top1", "top5")} for row in rows]


def _paired(data: StudyData, metric: str) -> tuple[list[float], list[float]]:
    """The errors by one crop and by 144 of the networks that have both."""
    both = [n.errors for n in networks(data) if set(WAYS) <= set(n.errors)]
    return [e[SINGLE][metric] for e in both], [e[MULTI][metric] for e in both]


def _of_plain(data: StudyData, crops: int, metric: str) -> list[float]:
    """The errors of BN-x30 itself, every seed."""
    plain = [n.errors for n in networks(data) if not n.member.varied]
    return [errors[crops][metric] for errors in plain if crops in errors]


def _label(member: Member) -> str:
    words = {
        "model.init_gain": lambda v: f"weights x{v:g}",
        "model.dropout": lambda v: f"dropout {100 * v:g} %",
        "model.per_activation_modules": lambda v: (
            "BN per activation in " + {1: "5b", 2: "5a, 5b"}.get(v, f"the last {v} modules")
        ),
    }
    changes = [words[k](v) if k in words else f"{k}={v}" for k, v in member.varied.items()]
    return ", ".join(changes) or f"BN-x30, seed {member.seed}"


# --- claims ---------------------------------------------------------------------------------------


def claims(data: StudyData) -> list[Claim]:
    """What Figure 4 says of crops and of the ensemble."""
    crops = intervals.difference(*_paired(data, "top1"), paired=True)
    row, plain = whole(data, MULTI), _of_plain(data, MULTI, "top1")
    over_one = intervals.interval([] if row is None else [error - row["top1"] for error in plain])
    where = "4.2.3, Figure 4"
    return [
        c.claim(
            "multi_crop_difference",
            "Averaging over 144 crops lowers the top-1 error of a single network.",
            where,
            "Top-1 error by a single crop minus by 144 crops, each network with itself, over all "
            "networks of the study: mean with its 95 % bootstrap interval over networks. Holds if "
            "the interval lies above 0, does not hold if below.",
            crops,
            c.verdict(crops, above=0.0),
        ),
        c.claim(
            "ensemble_over_single_difference",
            "An ensemble of six networks has a lower top-1 error than one BN-x30.",
            where,
            "Top-1 error of one BN-x30 minus that of the mean of the six's probabilities, both by "
            "144 crops: mean over BN-x30's seeds with its 95 % bootstrap interval over them. Holds "
            "if the interval lies above 0, does not hold if below. Changed after the results were "
            "seen: at first the claim was that the ensemble is better than the best of the six, "
            "which the paper does not say; Findings has it still.",
            over_one,
            c.verdict(over_one, above=0.0),
        ),
    ]


# --- figures --------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure4``: every network by one crop and by 144; ensembles of 1 to 6 networks."""
    if not networks(data):
        return {}
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.3), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.1, 1, 1])
        draw_networks(left, data)
        draw_sizes(middle, data, "top1").set_title("(b)  top-1 error")
        draw_sizes(right, data, "top5").set_title("(c)  top-5 error")
        return {"figure4": figure}


def draw_networks(ax: Axes, data: StudyData) -> Axes:
    """Top-1 error of each network, a line from its single crop to its 144; below, of all six."""
    shown = [(n.label, {k: e["top1"] for k, e in n.errors.items()}) for n in networks(data)]
    together = {k: row["top1"] for k in WAYS if (row := whole(data, k)) is not None}
    if together:
        shown.append((f"ensemble of {len(six(data.members))}", together))
    for place, (_, errors) in enumerate(shown):
        values = [100 * error for error in errors.values()]
        ax.plot(values, [place] * len(values), color=style.INK, lw=0.7, zorder=1)
        for crops, error in errors.items():
            arm = WAYS[crops]
            ax.plot([100 * error], [place], color=arm.color, marker=arm.marker, ls="none", ms=4.5)
    labels = [textwrap.fill(label, 26) for label, _ in shown]
    ax.set_yticks(range(len(shown)), labels, fontsize=6.5)
    if together:
        ax.axhline(len(shown) - 1.5, color=style.INK, lw=0.6, ls=(0, (1, 2)))
    ax.invert_yaxis()
    ax.set_xlabel("error, %")
    ax.set_title("(a)  top-1 error of each")
    return ax


def draw_sizes(ax: Axes, data: StudyData, metric: str) -> Axes:
    """The error of every ensemble against its number of networks, and their mean as a line."""
    for crops, arm in WAYS.items():
        rows = subsets(data, crops)
        errors = 100 * np.array([row[metric] for row in rows])
        models = np.array([row["models"] for row in rows])
        if not np.isfinite(errors).any():
            continue
        ax.plot(models, errors, color=arm.color, marker=arm.marker, ms=2.2, ls="none", alpha=0.45)
        sizes = sorted(set(models))
        means = [errors[models == k].mean() for k in sizes]
        ax.plot(sizes, means, color=arm.color, ls=arm.linestyle, marker=arm.marker, label=arm.label)
        ax.set_xticks(sizes)
    if ax.lines:
        ax.legend(loc="upper right")
    else:
        ax.text(0.5, 0.5, "not evaluated", ha="center", va="center", transform=ax.transAxes)
    ax.set_xlabel("networks averaged")
    ax.set_ylabel("error, %")
    return ax


# --- findings -------------------------------------------------------------------------------------

PLAIN = {"BN-Inception single crop": SINGLE, "BN-Inception multicrop": MULTI}
"""The paper's rows that are one network's."""


def summary(data: StudyData) -> str:
    """Top-1 errors beside the paper's; markdown."""
    if not networks(data):
        return ""
    means = [float(np.mean(_of_plain(data, k, "top1") or [np.nan])) for k in WAYS]
    row = whole(data, MULTI)
    here = [*means, None if row is None else row["top1"]]
    there = [
        paper.FIGURE4[f"BN-Inception {way}"].top1
        for way in ("single crop", "multicrop", "ensemble")
    ]
    told = [
        f"{way} {_percent(ours)} ({_percent(theirs)})"
        for way, ours, theirs in zip(
            ("a single crop", "144 crops", "the ensemble of six"), here, there, strict=True
        )
    ]
    equal = max(subsets(data, MULTI, equals), key=lambda row: row["models"], default=None)
    if equal is not None:
        told.append(f"an ensemble of {int(equal['models'])} plain BN-x30 {_percent(equal['top1'])}")
    return f"Top-1 error (in the paper): {', '.join(told)}."


def findings(data: StudyData) -> str:
    """Figure 4's table beside the paper's, and what the numbers say; markdown."""
    if not networks(data):
        return f"No evaluations yet: `{BETWEEN[0]}`."
    lines = [_beside_the_paper(data), "", *_crops(data), *_sizes(data), *_of_equals(data)]
    lines += [*_algorithm_2(data), ""]
    return "\n".join([*lines, "**The networks**:", "", _networks_table(data)])


def _percent(error: float | None) -> str:
    return "-" if error is None or np.isnan(error) else f"{100 * error:.1f} %"


def _of_many(errors: Sequence[float]) -> str:
    """The mean, and every point."""
    if not errors or np.isnan(errors[0]):
        return "-"
    points = ", ".join(f"{100 * error:.1f}" for error in errors)
    return _percent(float(np.mean(errors))) + (f" ({points})" if len(errors) > 1 else "")


def _beside_the_paper(data: StudyData) -> str:
    rows = []
    for name, error in paper.FIGURE4.items():
        here = {"top1": "-", "top5": "-"}
        if name in PLAIN:
            here = {metric: _of_many(_of_plain(data, PLAIN[name], metric)) for metric in here}
        elif name == "BN-Inception ensemble" and (row := whole(data, MULTI)):
            here = {metric: _percent(row[metric]) for metric in here}
        theirs = [
            "-" if value is None else f"{100 * value:.4g} %" for value in (error.top1, error.top5)
        ]
        sizes = ["-" if value is None else str(value) for value in (error.crops, error.models)]
        rows.append([name, *sizes, theirs[0], here["top1"], theirs[1], here["top5"]])
    head = ["", "crops", "models", "top-1 error, paper", "here", "top-5 error, paper", "here"]
    note = "\n\nHere, single networks are BN-x30: the mean over its seeds, and every seed."
    return "**Figure 4**, on the validation images:\n\n" + table(head, rows) + note


def _crops(data: StudyData) -> list[str]:
    gains = {
        name: 100 * -np.diff(_paired(data, name), axis=0).flatten() for name in ("top1", "top5")
    }
    top1, top5 = gains["top1"], gains["top5"]
    if not len(top1):
        return []
    single, multi = (paper.FIGURE4[name].top1 or np.nan for name in PLAIN)
    also = "" if np.isnan(top5).any() else f", and the top-5 error by {-top5.mean():+.2f}"
    return [
        f"- **144 crops** change the top-1 error by {-top1.mean():+.2f} points on average over "
        f"{style.count(len(top1), 'network')} (from {(-top1).min():+.2f} to {(-top1).max():+.2f})"
        f"{also}; the paper's top-1 error by {100 * (multi - single):+.2f}."
    ]


def _sizes(data: StudyData) -> list[str]:
    lines = []
    for crops, arm in WAYS.items():
        row = whole(data, crops)
        if row is None:
            continue
        by_size: dict[int, list[float]] = {}
        for r in subsets(data, crops):
            by_size.setdefault(int(r["models"]), []).append(r["top1"])
        means = ", ".join(f"{k}: {_percent(float(np.mean(e)))}" for k, e in by_size.items())
        gain = ensembles.over_images(row["gained"], row["lost"], row["images"])
        lines.append(
            f"- **The ensemble, {arm.label}**: {_percent(row['top1'])} top-1 error, its members "
            f"alone {_percent(float(np.mean(by_size[1])))} on average and "
            f"{_percent(min(by_size[1]))} at best. Of {int(row['images']):,} images it has "
            f"{int(row['gained'])} right that its best member has wrong, and {int(row['lost'])} "
            f"the other way round: {c.shown('_difference', gain.estimate, gain.low, gain.high)} "
            f"better. By its number of networks (means over all subsets): {means}."
        )
    return lines


def _of_equals(data: StudyData) -> list[str]:
    """An ensemble of the plain networks: averaging alone, where no member is worse for a change."""
    rows, others = subsets(data, MULTI, equals), subsets(data, MULTI)
    models = max((int(row["models"]) for row in rows), default=0)
    if models < 2:
        return []
    alone = [row["top1"] for row in rows if row["models"] == 1]
    row = next(row for row in rows if row["models"] == models)
    gain = ensembles.over_images(row["gained"], row["lost"], row["images"])
    lines = [
        f"- **An ensemble of equals** (added after a first look at the six), the {models} plain "
        f"BN-x30 by 144 crops: {_percent(row['top1'])} top-1 error, its members alone "
        f"{_of_many(alone)}. It is better than the best of them by "
        f"{c.shown('_difference', gain.estimate, gain.low, gain.high)}."
    ]
    six_alone = [other["top1"] for other in others if other["models"] == 1]
    if six_alone:
        apart = 100 * (max(six_alone) - min(six_alone))
        lines[0] += f" The members of the six lie up to {apart:.1f} points apart."
    return lines


def _algorithm_2(data: StudyData) -> list[str]:
    """Population statistics against moving averages, as each run measured at its last step."""
    last = data.curves.loc[data.curves["metric"] == "top1"].groupby([*KEY, "statistics"]).last()
    wide = last["value"].unstack("statistics")
    if "population" not in wide or "moving" not in wide:
        return []
    change = 100 * (wide["population"] - wide["moving"]).dropna().to_numpy(float)
    return [
        f"- **Moving averages or Algorithm 2**: with Algorithm 2's statistics the single-crop "
        f"accuracy differs by {change.mean():+.2f} points on average over "
        f"{style.count(len(change), 'network')}, and by {np.abs(change).max():.2f} at most."
    ]


def _networks_table(data: StudyData) -> str:
    head = ["network", "seed"]
    head += [f"top-{k} error, {arm.label}" for arm in WAYS.values() for k in (1, 5)]
    rows = []
    for n in networks(data):
        cells = [n.errors.get(crops, {}).get(name) for crops in WAYS for name in ("top1", "top5")]
        label = n.label if n.member.varied else "BN-x30"
        rows.append([label, str(n.member.seed), *map(_percent, cells)])
    return table(head, rows)
