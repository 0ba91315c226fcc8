"""Which rate is Inception's best, and up to which rate each network trains (sec. 4.2.2).

A study without claims: it chooses the rate r0 for others, and is run before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import gates, grids, panels, style
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.prose import percent
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5, INCEPTION
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

RATE = "optimizer.lr"
ARMS = (INCEPTION, BN_BASELINE, BN_X5)


class Tried(NamedTuple):
    """A network at the rates of its grid."""

    arm: Arm
    grid: Grid
    """Accuracy on held-out images at the last step, (rates, seeds); a diverged run has chance."""
    failed: list[list[bool]]
    """Whether each run fails, by rate (:func:`gates.failed`)."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Ascending."""
        return self.grid.axes[0]

    @property
    def best(self) -> int:
        """Which rate has the highest mean accuracy: of Inception, r0."""
        return self.grid.best[0]

    @property
    def trains_to(self) -> int | None:
        """The highest rate such that no run fails there or at a lower one; None where all do."""
        fails = np.flatnonzero([any(runs) for runs in self.failed])
        last = int(fails[0]) - 1 if len(fails) else len(self.rates) - 1
        return last if last >= 0 else None


def tried(runs: Runs, arms: Iterable[Arm] = ARMS) -> list[Tried]:
    """The networks that have runs."""
    found, final = [], runs.final(diverged=runs.chance)
    for arm in arms:
        grid = grids.grid(arm.of(final), [RATE])
        if grid is not None:
            mine = [arm.of(runs).where(**{RATE: rate}) for rate in grid.axes[0]]
            found.append(Tried(arm, grid, [gates.failed(part) for part in mine]))
    return found


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_rates``: accuracy against the rate."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
        ax = draw_rates(figure.subplots(), runs)
        if ax.lines:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return {"figure_rates": figure}


def draw_rates(ax: Axes, runs: Runs) -> Axes:
    """Every seed at every rate, the best rate ringed, a bar up to the highest that trains."""
    found, floor = tried(runs), ax.get_xaxis_transform()
    for place, one in enumerate(found):
        panels.along(ax, one.rates, one.grid.values, one.arm)
        x, y = one.rates[one.best], one.grid.means[one.best]
        ax.plot([x], [y], **panels.RING, mec=one.arm.color)
        if one.trains_to is not None:
            ends, height = [one.rates[0], one.rates[one.trains_to]], 0.02 + 0.035 * place
            bar: dict[str, Any] = {"color": one.arm.color, "marker": "|", "ms": 7, "lw": 3}
            ax.plot(ends, [height] * 2, solid_capstyle="butt", transform=floor, **bar)
    if found:
        panels.reference(ax, runs.chance, "chance")
        ax.set(xscale="log", xlabel="learning rate (log scale)")
        ticks = sorted({rate for one in found for rate in one.rates})
        ax.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        ax.minorticks_off()
        top = max(one.grid.values.max() for one in found)
        ax.set_ylim(-0.16 * top, 1.05 * top)
    style.percent_axis(ax).set_ylabel("accuracy on held-out images")
    ax.set_title("at the last step; bars: rates at which all seeds train")
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """What the templates show."""
    found = tried(runs)
    return {
        "missing": inception.missing(runs, ARMS),
        "tried": {one.arm.label: one for one in found},
        "table": _table(found),
    }


def _table(found: list[Tried]) -> list[list[str]]:
    """A row a rate, a head first: the mean accuracy, and how many runs fail."""
    rows = [["learning rate", *(one.arm.label for one in found)]]
    for rate in sorted({rate for one in found for rate in one.rates}):
        cells = []
        for one in found:
            if rate not in one.rates:
                cells.append("-")
                continue
            at = one.rates.index(rate)
            bad, n = sum(one.failed[at]), len(one.failed[at])
            cells.append(percent(one.grid.values[at]) + (f"; {bad} of {n} fail" if bad else ""))
        rows.append([f"{rate:g}", *cells])
    return rows


def study(prose: str) -> Study:
    """A study of this kind."""
    return Study(prose=prose, figures=figures, values=values)
