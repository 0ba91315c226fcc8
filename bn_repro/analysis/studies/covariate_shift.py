"""Is it the covariate shift? Jolted distributions, turning gradients, smoothness (sec. 1, 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bn_repro.analysis import panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.prose import percent
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies.covariate_shift_runs import (
    SETTINGS,
    Setting,
    accuracy,
    along,
    swings,
    turns,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

SECTION = "1, 2"
LONG = 4.0
"""A step of so many rates, in the table."""


def claims(runs: Runs) -> Iterator[Claim]:
    """Of both networks: whether jolts cost what BN gains, and what BN does to gradients."""
    for setting in SETTINGS:
        yield from _jolts(runs, setting)
        yield from _gradients(runs, setting)


def _jolts(runs: Runs, setting: Setting) -> Iterator[Claim]:
    without, bn, *jolted = setting.arms
    for arm in jolted:
        harder = "_harder" if arm is not jolted[0] else ""
        how = "jolted harder" if harder else "jolted"
        gate = moved(runs, setting, arm)
        yield Claim(
            f"{setting.id}_jolted{harder}_ahead_difference",
            f"{setting.name}: with BN the network is ahead of the one without, also when its "
            f"distributions are {how} at every step.",
            SECTION,
            _ahead(runs, setting, arm, without),
            Above(),
            gates=[gate],
            depends_on="the rate, the size of the jolts",
        )
        yield Claim(
            f"{setting.id}_jolted{harder}_costs_difference",
            f"{setting.name}: distributions that are {how} cost the network with BN accuracy.",
            SECTION,
            _ahead(runs, setting, bn, arm),
            Above(),
            gates=[gate],
            depends_on="the rate, the size of the jolts",
        )


def _ahead(runs: Runs, setting: Setting, high: Arm, low: Arm) -> q.Quantity:
    which = "last" if setting.rate else "best"
    images_a, images_b = (setting.of(runs, arm).right(which) for arm in (high, low))
    a, b = (accuracy(runs, setting, arm) for arm in (high, low))
    what = "Test accuracy at the last step" if setting.rate else q.MAXIMUM
    words = f"{what}, {high.label} minus {low.label}. {q.AT_CHANCE}"
    return q.difference(a, b, words, images=(images_a, images_b))


def moved(runs: Runs, setting: Setting, jolted: Arm) -> Gate:
    """That jolts move the last layer's inputs, from one traced step to the next."""
    found = q.factor(swings(runs, setting, jolted), swings(runs, setting, setting.arms[1]), "")
    met = found.interval.low > 1 if found.interval.n >= ENOUGH_SEEDS else None
    return Gate(
        "the median of a unit of the last layer changes more between traced steps than with BN "
        "alone, by the 95 % interval of the ratio",
        met,
        "the jolts do not move the distributions",
    )


def _gradients(runs: Runs, setting: Setting) -> Iterator[Claim]:
    arms = setting.arms[1::-1]  # with BN, without
    angle, angle_without = (turns(runs, setting, arm).mean(axis=1) for arm in arms)
    yield Claim(
        f"{setting.id}_turn_ratio",
        f"{setting.name}: with BN a layer's gradient turns less when the layers below it are "
        "updated.",
        SECTION,
        q.factor(
            angle,
            angle_without,
            "The angle between the gradient of a layer's weights before and after a step of plain "
            "SGD by the layers below, averaged over the layers and the probed steps, with BN over "
            "without",
        ),
        Below(1.0),
        depends_on="the rate",
    )
    change, change_without = (
        along(runs, setting, arm, "distance", 1.0).mean(axis=1) for arm in arms
    )
    yield Claim(
        f"{setting.id}_smooth_ratio",
        f"{setting.name}: with BN the gradient changes less along a step.",
        "not in the paper",
        q.factor(
            change,
            change_without,
            "The norm of the change of the gradient of all parameters over a step of plain SGD, "
            "over that of the gradient, averaged over the probed steps, with BN over without",
        ),
        Below(1.0),
        depends_on="the rate",
    )


# --- figures and prose ----------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_shift``: accuracy, turns of the gradient and its change along a step."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.6), layout="constrained")
        axes = figure.subplots(3, 3)
        for column, setting in zip(axes.T, SETTINGS, strict=True):
            _draw(column, runs, setting)
        axes[1, 0].set_ylabel("turn of the gradient, degrees")
        axes[2, 0].set_ylabel("relative change of the gradient")
        style.letters(axes.ravel())
        for ax in axes[0, 1:]:
            ax.set_ylabel("")
        style.legend(figure, axes[0, :2], loc="outside upper center", ncols=4)
        return {"figure_shift": figure}


def _draw(column: Any, runs: Runs, setting: Setting) -> None:
    top, turn, change = column
    for arm in setting.arms:
        mine = setting.of(runs, arm)
        panels.curves(top, mine.curve(diverged=mine.chance), arm)
        turned = turns(runs, setting, arm)
        panels.curves(turn, turned.where(turned > 0), arm)  # 0: a cosine that rounds to 1
        panels.curves(change, along(runs, setting, arm, "distance", 1.0), arm)
    style.error_axis(top, 0.0, 0.99, "accuracy")
    top.set_title(setting.name)
    for ax in (turn, change):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter("{x:g}")
    for ax in column:
        style.steps_axis(ax)


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows = [_row(runs, s, arm) for s in SETTINGS for arm in s.arms if len(accuracy(runs, s, arm))]
    head = ["setting", "arm", "accuracy", "moves", "cosine", "angle"]
    head += ["change", f"change, {LONG:g} x", f"loss falls, {LONG:g} x"]
    moves, as_steady = _moves(runs)
    return {"table": [head, *rows] if rows else [], "moves": moves, "as_steady": as_steady}


def _moves(runs: Runs) -> tuple[dict[str, q.Quantity], bool]:
    """How far jolted distributions move over those of the network without BN; and whether the mild
    jolts, the first of a setting, are nowhere shown to move them further."""
    found, lows = {}, []
    for setting in SETTINGS:
        without, _, *jolted = setting.arms
        for arm in jolted:
            moved = q.factor(swings(runs, setting, arm), swings(runs, setting, without), "")
            mild = arm is jolted[0]
            if moved.interval.n:
                found[setting.name if mild else f"{setting.name}, harder"] = moved
                lows += [moved.interval.low] * mild
    return found, bool(lows) and max(lows) <= 1


def _row(runs: Runs, setting: Setting, arm: Arm) -> list[str]:
    angle, cosine = (turns(runs, setting, arm, k).mean(axis=1) for k in ("angle", "cosine"))
    once, far = (along(runs, setting, arm, "distance", s).mean(axis=1) for s in (1.0, LONG))
    start, there = (along(runs, setting, arm, "loss", size) for size in (0.0, LONG))
    falls = f"{100 * (there < start).to_numpy().mean():.0f} %" if start.size else "-"
    cells = [f"{swings(runs, setting, arm).mean():.2f}", f"{cosine.mean():.3f}"]
    cells += [f"{v.mean():.3g}" for v in (angle, once, far)]
    return [setting.name, arm.label, percent(accuracy(runs, setting, arm)), *cells, falls]


STUDY = Study("covariate_shift.md.j2", figures, claims, values=values, traces=True)
