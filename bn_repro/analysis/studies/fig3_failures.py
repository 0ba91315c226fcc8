"""Of ``fig3``: the networks that section 4.2.2 reports to fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bn_repro import paper
from bn_repro.analysis import gates, intervals, movement, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.prose import listed
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.inception import BN_SIGMOID, INCEPTION, best, network
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

X5 = network("Inception-x5, He", "inception_x5", "#b3261e", "-", "o")
X5_SMALL = network(
    "Inception-x5, std 0.01", "inception_x5", "#e58a7f", (0, (4.5, 1.4)), "<", std=0.01
)
X5_LARGE = network(
    "Inception-x5, std 0.1", "inception_x5", "#6b0f0a", (0, (1.2, 1.1)), "s", std=0.1
)
SIGMOID = network("Inception-Sigmoid", "inception_sigmoid", "#777777", (0, (6, 1.3, 1.2, 1.3)), "P")
FAILURES = (X5, X5_SMALL, X5_LARGE, SIGMOID)
"""The networks without BN that the paper reports to fail."""
STARTS = {
    "he": (X5, "He's initial weights"),
    "gaussian_001": (X5_SMALL, "Gaussian weights of standard deviation 0.01"),
    "gaussian_01": (X5_LARGE, "Gaussian weights of standard deviation 0.1"),
}


def control(fast: Arm) -> Arm:
    """Inception from the same weights as ``fast``, at its own rate."""
    std = fast.keys["init_std"]
    label = INCEPTION.label if std is None else f"Inception, std {std:g}"
    return INCEPTION.with_(label=label, keys={**INCEPTION.keys, "init_std": std})


CONTROLS = control(X5_SMALL), control(X5_LARGE)


def failed(runs: Runs, arm: Arm) -> list[bool]:
    """By run: whether it fails."""
    diverged = (arm.of(runs).runs["state"] == "diverged").to_numpy(bool)
    return gates.failed(best(runs, arm), runs.chance, diverged)


def claims(runs: Runs) -> Iterator[Claim]:
    """Sigmoids with and without BN; 5 times the rate without BN, from three kinds of weights."""
    printed = paper.percent(inception.printed(BN_SIGMOID).max_top1)
    yield Claim(
        "sigmoid_with_bn_over_chance_ratio",
        "With BN the network trains with sigmoids too, well above chance.",
        "4.2.2",
        _over_chance(runs, BN_SIGMOID),
        Above(10.0),
        f"{printed}, where chance is 0.1 %",
    )
    yield Claim(
        "sigmoid_without_bn_over_chance_ratio",
        "Without BN the network with sigmoids never gets beyond chance.",
        "4.2.2",
        _over_chance(runs, SIGMOID),
        Below(2.0),
        "never above chance, 0.1 %",
    )
    for name, (arm, start) in STARTS.items():
        yield Claim(
            f"inception_x5_{name}_failed",
            f"Without BN, Inception fails at 5 times its rate, from {start}.",
            "4.2.2",
            q.failures(
                failed(runs, arm),
                "Share of the runs that fail: that end with a loss that is not finite, or whose "
                "accuracy never exceeds twice chance",
            ),
            Above(0.5),
            "machine infinity; initial weights not said",
            gates=[_trains(runs, control(arm))],
            hangs_on="the initial weights",
        )


def _trains(runs: Runs, own: Arm) -> Gate:
    return gates.trains(failed(runs, own), f"{own.label}, from the same weights at its own rate,")


def _over_chance(runs: Runs, arm: Arm) -> Quantity:
    words = f"Maximum accuracy of {arm.label} over chance: mean with its {q.ONE_SAMPLE}"
    over = best(runs, arm) / runs.chance
    return Quantity(words, intervals.interval(over), "times chance", seeds=over.tolist())


# --- figures --------------------------------------------------------------------------------------


def figure(runs: Runs) -> Figure:
    """Accuracy and training loss of the failures, side by side."""
    figure = Figure(figsize=(style.WIDTH, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    style.letters([draw_accuracy(left, runs), draw_loss(right, runs)])
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=5, columnspacing=1.2)
    return figure


def draw_accuracy(ax: Axes, runs: Runs) -> Axes:
    """Validation accuracy of the networks said to fail; Inception and BN-x5-Sigmoid thin."""
    for arm in (INCEPTION, BN_SIGMOID, *FAILURES):
        _draw(ax, inception.curves(runs, arm), arm)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]))
    ax.yaxis.set_minor_locator(NullLocator())
    if np.isfinite(runs.chance):
        panels.reference(ax, runs.chance)
        ax.set_ylim(0.8 * runs.chance, None)
        ax.annotate("chance", (0.01, 0.02), xycoords="axes fraction", fontsize=6.5)
    style.steps_axis(style.percent_axis(ax)).set_xlim(0, runs.last_step)
    ax.set_ylabel("accuracy (log scale)")
    ax.set_title("single-crop validation accuracy")
    return ax


def draw_loss(ax: Axes, runs: Runs) -> Axes:
    """Training loss, smoothed; a vertical line where a run's loss ceased to be finite."""
    lost = []
    for arm in (INCEPTION, BN_SIGMOID, *FAILURES):
        mine = arm.of(runs)
        wide = mine.curve(split="train", statistics="batch", metric="loss")
        wide = wide.dropna(axis=1, how="all").dropna()  # a run that is lost has its line alone
        if wide.size:
            wide[:] = movement.smoothed(wide.to_numpy(float))
        _draw(ax, wide, arm)
        steps = np.sort(mine.runs.loc[mine.runs["state"] == "diverged", "step"].to_numpy(float))
        for step in steps:
            ax.axvline(step, color=arm.color, lw=1.2, ls=arm.linestyle, label="_not_finite")
        if len(steps):
            numbers = listed(f"{step:,.0f}" for step in steps)
            words = f"{arm.label}:\nloss not finite\nat step{'s' * (len(steps) > 1)} {numbers}"
            lost.append((steps[-1], words, arm.color))
    ax.set_xscale("log")
    ax.set_xlim(1, max(runs.last_step, 2))
    for place, (step, words, color) in enumerate(lost):
        where = {"transform": ax.get_xaxis_transform(), "va": "bottom"}
        ax.text(1.2 * step, 0.03 + 0.25 * place, words, fontsize=7, color=color, **where)
    style.steps_axis(ax).set_xlabel("training steps (log scale)")
    ax.set_ylabel("cross-entropy")
    ax.set_title("loss of the training mini-batches")
    return ax


def _draw(ax: Axes, wide: Any, arm: Arm) -> None:
    """A failure with its seeds; what stands beside them as a thin line."""
    if arm in FAILURES:
        panels.curves(ax, wide, arm, markers=6)
        every = max(1, wide.shape[1] // 6)  # markers shifted, since those at chance coincide
        for line in ax.lines[-1:] if wide.size else ():
            line.set_markevery((FAILURES.index(arm) * every // 4, every))
    elif wide.size:
        look = {"color": arm.color, "ls": arm.linestyle, "lw": 1.0, "label": arm.label}
        ax.plot(wide.columns, wide.median(), **look)


# --- prose ----------------------------------------------------------------------------------------


def what_happened(runs: Runs, arm: Arm) -> str:
    """``2 of 3 diverged (at steps 120 and 400); 1 of 3 stayed at chance``."""
    rows, bad = arm.of(runs).runs, failed(runs, arm)
    died = [f"{step:,.0f}" for step in rows.loc[rows["state"] == "diverged", "step"]]
    counts = {
        f"diverged (at step{'s' * (len(died) > 1)} {listed(died)})": len(died),
        "stayed at chance": sum(bad) - len(died),
        "trained": len(bad) - sum(bad),
    }
    return "; ".join(f"{n} of {len(bad)} {words}" for words, n in counts.items() if n)


def happened_table(runs: Runs) -> list[list[str]]:
    """What became of each, and its best accuracies, a head first; empty without runs."""
    rows = []
    for arm in FAILURES:
        if len(rows_of := arm.of(runs).runs):
            points = ", ".join(f"{100 * v:.1f}" for v in rows_of["best_top1"].dropna())
            highest = f"{points} %" if points else "never evaluated"
            rows.append([arm.label, what_happened(runs, arm), highest])
    return (
        [["network", "what happened here", "maximum accuracy, every seed"], *rows] if rows else []
    )
