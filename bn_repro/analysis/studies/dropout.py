"""Whether BN does the work of dropout (abstract, sec. 3.4), on all training images and on few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, panels, style
from bn_repro.analysis.claims import Claim, Quantity
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.study import Study, percent, points
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values, plain

LIMIT, DROPOUT, RATE = "data.limit", "model.dropout", "optimizer.lr"
ALL = 60_000
"""MNIST's training images: a claim's id has their number where ``data.limit`` is null."""
TRAINS = 0.5
"""A run that ends below this is lost, not merely worse: no setting's typical run is near it."""
MARGIN = 0.002
"""How much less accuracy counts as just as good; fixed before the runs."""


@dataclass(frozen=True)
class Part:
    """One arm on one number of training images."""

    arm: Arm
    tuned: Grid | None
    """Accuracy on held-out images over (dropout, rate); None until all of these runs are in."""
    test: Values
    """Of the final runs: test accuracy at the last step, one rate a dropout."""
    train: Values
    """The same on the training images."""
    peak: Values
    """The best test accuracy at any step."""

    def best(self, *, nonzero: bool = False) -> float | None:
        """The dropout that is best on held-out images, each at its own best rate; None where
        that is not known yet. ``nonzero`` leaves out the network without dropout."""
        if self.tuned is None:
            return None
        dropouts, means = self.tuned.axes[0], self.tuned.means.max(axis=1)
        tried = [i for i, dropout in enumerate(dropouts) if dropout > 0 or not nonzero]
        return dropouts[max(tried, key=lambda i: means[i])] if tried else None

    def tuned_rate(self, dropout: float) -> tuple[float, float] | None:
        """The best rate of a dropout and its mean accuracy, on held-out images."""
        if self.tuned is None or dropout not in self.tuned.axes[0]:
            return None
        means = self.tuned.means[self.tuned.axes[0].index(dropout)]
        return self.tuned.axes[1][means.argmax()], float(means.max())

    def of(self, kind: str, dropout: float | None) -> pd.Series:
        """``test``, ``train``, ``peak`` or ``gap`` (training minus test) at a dropout, by seed."""
        if dropout is None:
            return pd.Series(dtype=float)
        if kind == "gap":
            return self.of("train", dropout) - self.of("test", dropout)
        return getattr(self, kind).where(**{DROPOUT: dropout}).by_seed()

    def change(self, kind: str, dropout: float | None) -> pd.Series:
        """What the dropout adds to what there is without, by seed."""
        return self.of(kind, dropout) - self.of(kind, 0.0)

    def lost(self, dropout: float) -> tuple[int, int]:
        """How many of the dropout's final runs end below 50 %, of how many."""
        values = self.of("test", dropout)
        return int((values < TRAINS).sum()), len(values)


@dataclass(frozen=True)
class Both:
    """The two arms on one number of training images, of which ``limit`` is None for all."""

    limit: int | None
    base: Part
    bn: Part

    @property
    def images(self) -> str:
        """``5,000 training images``."""
        return f"{'all' if self.limit is None else format(self.limit, ',')} training images"

    @property
    def dropouts(self) -> list[float]:
        """All that were tried."""
        tuned = [d for part in self.parts if part.tuned for d in part.tuned.axes[0]]
        return sorted({*tuned, *(d for part in self.parts for d in part.test.levels(DROPOUT))})

    @property
    def parts(self) -> tuple[Part, Part]:
        """Without BN, and with it."""
        return self.base, self.bn

    def alone(self, kind: str = "test") -> pd.Series:
        """BN without dropout minus the baseline with its best, by seed."""
        return self.bn.of(kind, 0.0) - self.base.of(kind, self.base.best())


def read(runs: Runs) -> list[Both]:
    """The study's runs by the number of training images, most first."""
    limits = {plain(member.varied.get(LIMIT)) for member in runs.members}
    order = sorted(limits, key=lambda n: -(n or ALL + 1))
    return [Both(n, *(_part(runs, arm, n) for arm in MNIST_ARMS)) for n in order]


def _part(runs: Runs, arm: Arm, limit: int | None) -> Part:
    keys = {**arm.keys, LIMIT: limit}
    tuned = runs.where(**keys, block="rates").final("val", diverged=runs.chance)
    complete = runs.complete(**keys, block="rates")
    grid = grids.grid(tuned, (DROPOUT, RATE)) if complete else None
    final = runs.where(**keys, block="final")
    test, train = (final.final(split, diverged=runs.chance) for split in ("test", "train"))
    return Part(arm, grid if grid and grid.whole else None, test, train, final.best())


# --- claims ---------------------------------------------------------------------------------------

CHOSEN = (
    "An arm's best dropout is the one with the highest mean accuracy on held-out images, each "
    "dropout at its own best rate there; test accuracy is that of the final runs at the last step "
    f"(moving averages). {c.AT_CHANCE}, and arms are paired by seed"
)
ADDS = (
    "What dropout adds: the arm's test accuracy with its best dropout minus that without, exactly "
    "0 where the best is none"
)


def claims(runs: Runs) -> Iterator[Claim]:
    """Three for each number of training images, most images first."""
    for both in read(runs):
        yield from _claims(both)


def _claims(both: Both) -> Iterator[Claim]:
    base, bn, on, number = both.base, both.bn, f"On {both.images}", both.limit or ALL
    yield Claim(
        f"dropout_gain_{number}_difference",
        f"{on} BN reduces what dropout adds.",
        "abstract, 3.4",
        _quantity(
            f"{ADDS}. Shown is what it adds to the baseline minus what it adds to BN",
            base.change("test", base.best()) - bn.change("test", bn.best()),
        ),
        c.Above(),
    )
    yield Claim(
        f"bn_alone_{number}_difference",
        f"{on} BN without dropout is at least as good as the baseline with its best dropout.",
        "abstract, 3.4, 4.2.1",
        _quantity(
            "BN without dropout minus the baseline with its best (up to "
            f"{100 * MARGIN:g} points less count as just as good, fixed beforehand)",
            both.alone(),
        ),
        c.Above(-MARGIN),
    )
    yield Claim(
        f"both_together_{number}_difference",
        f"{on} dropout still helps a network with BN.",
        "3.4, 4.2.1",
        _quantity(
            "BN with its best dropout other than none minus BN without",
            bn.change("test", bn.best(nonzero=True)),
        ),
        c.Above(),
    )


def _quantity(words: str, values: pd.Series) -> Quantity:
    found = intervals.interval(values.dropna().to_numpy(float))
    return Quantity(f"{CHOSEN}. {words}: mean with its {c.OVER_SEEDS}", found, "points")


# --- figure ---------------------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_dropout``: test accuracy, and its gap to training accuracy, against dropout."""
    found = read(runs)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
        axes = figure.subplots(
            2, len(found), sharex=True, sharey="row", squeeze=False, height_ratios=[1.5, 1]
        )
        for (top, bottom), both in zip(axes.T, found, strict=True):
            draw(top, both, "test").set_title(both.images)
            draw(bottom, both, "gap").set_xlabel("dropout after each hidden layer")
        _accuracy_axis(axes[0])
        for both, ax in zip(found, axes[0], strict=True):
            _mark_lost(ax, both)
        axes[1, 0].set_ylabel("training minus test, points")
        axes[1, 0].set_ylim(bottom=min(0, axes[1, 0].get_ylim()[0]))
        style.letters(axes.flat)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return {"figure_dropout": figure}


def draw(ax: Axes, both: Both, kind: str) -> Axes:
    """``test`` or ``gap`` (in points) against dropout: every seed, the mean, the chosen one ringed.

    A dropout of which a final run is lost has no mean.
    """
    for part in both.parts:
        color, dropouts = part.arm.color, both.dropouts
        trained = pd.DataFrame({d: part.of("test", d) for d in dropouts}) >= TRAINS
        wide = pd.DataFrame({d: part.of(kind, d) for d in dropouts}, dtype=float).where(trained)
        wide = 100 * wide if kind == "gap" else wide
        means = wide.mean().where(np.array([part.lost(d)[0] == 0 for d in dropouts]))
        look: dict[str, Any] = {"marker": part.arm.marker, "ls": part.arm.linestyle, "color": color}
        look |= {"ms": 4.2, "mec": "white", "mew": 0.5, "label": f"{part.arm.label}, mean"}
        ax.plot(dropouts, wide.to_numpy().T, color=color, lw=0.6, alpha=0.35)
        ax.plot(dropouts, means.to_numpy(), **look)
        ring: dict[str, Any] = panels.RING | {"mec": color}
        if (best := part.best()) in means:
            ax.plot([best], [means[best]], **ring)
    ax.set_xticks(both.dropouts, [f"{dropout:g}" for dropout in both.dropouts])
    return ax


def _accuracy_axis(axes: Sequence[Axes]) -> None:
    """From a little below the lowest run to the tick above the highest."""
    lines = [np.asarray(line.get_ydata(), float) for ax in axes for line in ax.lines]
    known = np.concatenate([*lines, []])
    known = known[np.isfinite(known)]
    if len(known):
        low = 1 - 1.15 * (1 - known.min())
        top = next((tick for tick in style.ERROR_TICKS if tick > known.max()), known.max())
        for ax in axes:
            style.error_axis(ax, low, top)
        for ax in axes[1:]:
            ax.set_ylabel("")


def _mark_lost(ax: Axes, both: Both) -> None:
    """At the lower edge: how many final runs of a setting are lost."""
    for part in both.parts:
        for dropout in both.dropouts:
            lost, n = part.lost(dropout)
            if lost:
                low, look = ax.get_ylim()[0], {"color": part.arm.color, "clip_on": False}
                ax.plot([dropout], [low], marker="v", ls="none", ms=6, **look)
                words = f"{lost} of {n} runs\nbelow {100 * TRAINS:g} %"
                place: dict[str, Any] = {"xytext": (6, 4), "textcoords": "offset points"}
                ax.annotate(words, (dropout, low), **place, fontsize=6.5)


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = read(runs)
    tuned = [
        (rate[0], part.tuned.axes[1])
        for both in found
        for part in both.parts
        if part.tuned
        for dropout in part.tuned.axes[0]
        if (rate := part.tuned_rate(dropout))
    ]
    lost = [
        f"{part.arm.label}, dropout {dropout:g}, on {both.images}: {part.lost(dropout)[0]} of "
        f"{part.lost(dropout)[1]}"
        for both in found
        for part in both.parts
        for dropout in both.dropouts
        if part.lost(dropout)[0]
    ]
    return {
        "found": found,
        "dropout_table": dropout_table,
        "settings": len(tuned),
        "lowest": sum(rate == rates[0] for rate, rates in tuned),
        "highest": sum(rate == rates[-1] for rate, rates in tuned),
        "lost": lost,
    }


def dropout_table(both: Both) -> list[list[str]]:
    """A row per dropout and arm, bold where held-out images choose it; a head first."""
    rows = [["dropout", "arm", "learning rate", "held-out", "training", "test", "gap, points"]]
    for dropout in both.dropouts:
        for part in both.parts:
            tuned = part.tuned_rate(dropout)
            mark = "**" if dropout == part.best() else ""
            gap = part.of("gap", dropout).dropna()
            rows.append(
                [
                    f"{mark}{dropout:g}{mark}",
                    part.arm.label,
                    _rate(part, dropout),
                    "-" if tuned is None else percent(tuned[1]),
                    percent(part.of("train", dropout)),
                    percent(part.of("test", dropout)),
                    points(gap).replace(" points", "") if len(gap) else "-",
                ]
            )
    return rows


def _rate(part: Part, dropout: float) -> str:
    """The rate of the final runs, or that to be; whether it is an end of the grid, or not its best
    as the grid now stands."""
    tuned = part.tuned_rate(dropout)
    own = part.test.where(**{DROPOUT: dropout}).rows[RATE].tolist()
    rate = own[0] if own else tuned[0] if tuned else None
    if rate is None or part.tuned is None:
        return "-" if rate is None else f"{rate:g}"
    tried = part.tuned.axes[1]
    end = {tried[0]: " (lowest)", tried[-1]: " (highest)"}.get(rate, "")
    other = "" if tuned is None or tuned[0] == rate else f", not the best, {tuned[0]:g}"
    return f"{rate:g}{end}{other}"


STUDY = Study(
    prose="dropout.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=(0.9, 0.95),
)
