"""Whether BN does the work of dropout (abstract, sec. 3.4), on all training images and on few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, readme, style, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.studies.fig1 import ARMS, BASELINE, BN, CHANCE
from bn_repro.analysis.tables import StudyData

TITLE = "Dropout, with and without Batch Normalization"
WHAT = (
    "Section 4.1's network with dropout after each hidden layer, in both arms, trained on all "
    "60,000 images and on 5,000 and 1,000 of them, drawn by the seed (the same for both arms). "
    "First every dropout trains at every learning rate of a small grid with 10,000 images held out "
    "(`rates`): these choose the rate of each setting, and then each arm's best dropout. Fresh "
    "seeds train at the chosen rates with nothing held out (`final`), and only these are measured "
    "on the test set, and at the end on their own training images with dropout off: the gap."
)
DEVIATIONS = """\
- The paper has no such experiment: it says that BN regularizes, and removes dropout (40 % before \
Inception's classifier) together with six other changes. Here dropout follows each of the three \
hidden layers of 100 units.
- 10,000 steps of 60, a fifth of section 4.1's: 10 epochs of 60,000 images, 120 of 5,000, 600 of \
1,000.
- Rate and dropout are chosen by 2 seeds from 5 rates and 5 dropouts; intervals take the choice as \
given. The nine verdicts stand each for itself, at 95 %.
- The grid of rates went to 3 at first. 24 of 30 settings chose 3, and on 1,000 images BN alone \
was 2.9 points worse than the baseline with its best dropout; so the grid was widened, once, by 10 \
and 30 for every setting, and the runs at the rates then chosen took the place of those before.
- A diverged run counts as chance (0.1), also on training images. Statistics are moving averages."""
IN_SHORT = (
    "Section 4.1's network, 10,000 steps, with dropout after each hidden layer; the paper has no "
    "such comparison."
)
CAPTIONS = {
    "figure_dropout": "Test accuracy of fresh seeds (above) and the gap between training and test "
    "accuracy (below) against dropout, for each number of training images: every seed faint, their "
    "mean bold. Ringed: the dropout that held-out images choose."
}
TRACES = False  # no figure of this study needs them, and they would be most of its bytes

LIMIT, DROPOUT, RATE = "data.limit", "model.dropout", "optimizer.lr"
ALL = 60_000
"""The training images where ``data.limit`` is null."""
TRAINS = 0.5
"""A run that ends below this is lost, not merely worse: no setting's typical run is near it."""
MARGIN = 0.002
"""How much less accuracy counts as just as good; fixed before the runs."""


@dataclass(frozen=True)
class Results:
    """One arm's, on one number of training images.

    ``tuned`` is the accuracy on held-out images over (dropout, learning rate), None until all of
    these runs are in; ``test`` and ``train`` are the final runs' last accuracies, a row per seed
    and a column per dropout, ``peak`` their best on the test set at any step; ``rates`` has the
    final runs' learning rate by dropout.
    """

    tuned: Grid | None
    test: pd.DataFrame
    train: pd.DataFrame
    peak: pd.DataFrame
    rates: dict[float, float]

    @property
    def gap(self) -> pd.DataFrame:
        """Training minus test accuracy."""
        return self.train - self.test

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

    def of(self, table: pd.DataFrame, dropout: float | None) -> pd.Series:
        """A column of ``test``, ``train`` or ``gap``, by seed; empty where there is none."""
        return pd.Series(table.get(dropout, []), dtype=float)

    def change(self, table: pd.DataFrame, dropout: float | None) -> pd.Series:
        """What the dropout adds to what there is without, by seed."""
        return self.of(table, dropout) - self.of(table, 0.0)


Both = dict[str, Results]
"""By experiment: ``BASELINE`` and ``BN``."""


def sizes(data: StudyData) -> list[int]:
    """The numbers of training images, most first."""
    return sorted({_size(m.varied.get(LIMIT)) for m in data.members}, reverse=True)


def _size(limit: float | None) -> int:
    return ALL if limit is None or math.isnan(limit) else int(limit)


def read(data: StudyData) -> dict[int, Both]:
    """What the study's rows hold, by number of training images."""
    final = grids.held_out(data, False)
    of_split = {
        "tuned": grids.last(grids.held_out(data, True), "val", diverged=CHANCE),
        **{split: grids.last(final, split, diverged=CHANCE) for split in ("test", "train")},
    }
    found: dict[int, Both] = {}
    for size in sizes(data):
        for experiment in ARMS:
            own = {name: _cut(runs, experiment, size) for name, runs in of_split.items()}
            found.setdefault(size, {})[experiment] = Results(
                _tuned(data, own["tuned"], experiment, size),
                _by_seed(own["test"]),
                _by_seed(own["train"]),
                _by_seed(own["test"].assign(last=own["test"]["best_top1"])),
                _pairs(own["test"]),
            )
    return found


def _cut(runs: pd.DataFrame, experiment: str, size: int) -> pd.DataFrame:
    limits = runs[LIMIT].tolist() if LIMIT in runs else [None] * len(runs)
    own = np.array([_size(limit) == size for limit in limits], dtype=bool)
    return tables.select(runs.take(np.flatnonzero(own)), experiment=experiment)


def _tuned(data: StudyData, runs: pd.DataFrame, experiment: str, size: int) -> Grid | None:
    planned = [
        m
        for m in data.members
        if m.experiment == experiment
        and m.varied.get(grids.HELD_OUT)
        and _size(m.varied.get(LIMIT)) == size
    ]
    found = grids.grid(runs, (DROPOUT, RATE)) if 0 < len(runs) == len(planned) else None
    return found if found is not None and found.whole else None


def _by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    if runs.empty:
        return pd.DataFrame(dtype=float)
    twice = runs.loc[runs.duplicated(["seed", DROPOUT])]
    if len(twice):
        cell = ", ".join(f"{key} {twice[key].iloc[0]}" for key in ("experiment", DROPOUT, "seed"))
        raise ValueError(f"dropout: two final runs of {cell}; a study has one")
    return runs.pivot(index="seed", columns=DROPOUT, values="last").astype(float)


def _pairs(runs: pd.DataFrame) -> dict[float, float]:
    return dict(zip(runs[DROPOUT].tolist(), runs[RATE].tolist(), strict=True)) if len(runs) else {}


def targets(data: StudyData) -> tuple[float, ...]:
    """The accuracies to which ``runs.csv`` counts the steps."""
    return 0.9, 0.95


# --- claims ---------------------------------------------------------------------------------------

CHOSEN = (
    "An arm's best dropout is the one with the highest mean accuracy on held-out images, each "
    "dropout at its own best rate there; test accuracy is that of the final runs at the last step "
    "(moving averages), a diverged run counting as chance, and arms are paired by seed."
)


def claims(data: StudyData) -> list[Claim]:
    """Three for each number of training images, most images first."""
    return [claim for size, both in read(data).items() for claim in _claims(size, both)]


def _mean(values: pd.Series) -> Interval:
    return intervals.interval(values.dropna().to_numpy(float))


def gain(arm: Results) -> pd.Series:
    """What the arm's best dropout adds to its test accuracy, by seed."""
    return arm.change(arm.test, arm.best())


def alone(both: Both) -> pd.Series:
    """Test accuracy with BN and no dropout minus the baseline's with its best, by seed."""
    base, bn = both[BASELINE], both[BN]
    return bn.of(bn.test, 0.0) - base.of(base.test, base.best())


def _claims(size: int, both: Both) -> list[Claim]:
    base, bn = both[BASELINE], both[BN]
    reduced = _mean(gain(base) - gain(bn))
    instead = _mean(alone(both))
    together = _mean(bn.change(bn.test, bn.best(nonzero=True)))
    on = f"On {size:,} training images"
    return [
        c.claim(
            f"dropout_gain_{size}_difference",
            f"{on} BN reduces what dropout adds.",
            "abstract, 3.4",
            f"{CHOSEN} What dropout adds is the arm's test accuracy with its best dropout minus "
            "that without: exactly 0 where the best is none. Shown is what it adds to the baseline "
            "minus what it adds to BN: mean with its 95 % bootstrap interval over seeds. Holds if "
            "the interval lies above 0, does not hold if below.",
            reduced,
            c.verdict(reduced, above=0.0),
        ),
        c.claim(
            f"bn_alone_{size}_difference",
            f"{on} BN without dropout is at least as good as the baseline with its best dropout.",
            "abstract, 3.4, 4.2.1",
            f"{CHOSEN} BN without dropout minus the baseline with its best: mean with its 95 % "
            f"bootstrap interval over seeds. {100 * MARGIN:g} points less count as just as good "
            f"(fixed beforehand): holds if the interval lies above {-100 * MARGIN:g} points, does "
            "not hold if below.",
            instead,
            c.verdict(instead, above=-MARGIN),
        ),
        c.claim(
            f"both_together_{size}_difference",
            f"{on} dropout still helps a network with BN.",
            "3.4, 4.2.1",
            f"{CHOSEN} BN with its best dropout other than none minus BN without: mean with its "
            "95 % bootstrap interval over seeds. Holds (it helps) if the interval lies above 0, "
            "does not hold (the two clash) if below.",
            together,
            c.verdict(together, above=0.0),
        ),
    ]


# --- figure ---------------------------------------------------------------------------------------


def figures(data: StudyData) -> dict[str, Figure]:
    """``figure_dropout``: test accuracy, and its gap to training accuracy, against dropout."""
    found = read(data)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.4), layout="constrained")
        panels = figure.subplots(2, len(found), sharex=True, squeeze=False, height_ratios=[1.3, 1])
        for (top, bottom), (size, both) in zip(panels.T, found.items(), strict=True):
            draw(top, both, "test")
            accuracy_axis(top)
            top.set_title(f"{size:,} training images")
            draw(bottom, both, "gap")
            bottom.axhline(0, color=style.INK, lw=0.7, ls=(0, (1, 2)))
            bottom.margins(y=0.12)  # room for a ring
            bottom.set_xlabel("dropout after each hidden layer")
        panels[0, 0].set_ylabel("test accuracy")
        panels[1, 0].set_ylabel("training minus test, points")
        for ax, kind in zip(panels[:, -1], ("test", "gap"), strict=True):
            name_arms(ax, list(found.values())[-1], kind)
        _key(figure, panels[0, 0])
        return {"figure_dropout": figure}


MEAN: dict[str, Any] = {"ms": 4.2, "mec": "white", "mew": 0.5}
RING: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 10, "mfc": "none", "mew": 1.2}


def _drawn(arm: Results, kind: str) -> pd.DataFrame:
    return (arm.test if kind == "test" else 100 * arm.gap).dropna(axis=1, how="all")


def draw(ax: Axes, both: Both, kind: str) -> Axes:
    """``test`` or ``gap`` against dropout: every seed, the mean, the chosen dropout ringed."""
    for experiment, results in both.items():
        arm, table = ARMS[experiment], _drawn(results, kind)
        if table.empty:
            continue
        dropouts = table.columns.to_numpy(float)
        for values in table.to_numpy(float):
            ax.plot(dropouts, values, color=arm.color, lw=0.6, alpha=0.35)
        means = table.mean()
        look = {"color": arm.color, "ls": arm.linestyle, "marker": arm.marker}
        ax.plot(dropouts, means.to_numpy(), **look, **MEAN)
        best = results.best()
        if best is not None and best in means:
            ax.plot([best], [means[best]], **RING, mec=arm.color)
    ticks = sorted({d for results in both.values() for d in _drawn(results, kind).columns})
    ax.set_xticks(ticks, [f"{dropout:g}" for dropout in ticks])
    return ax


TICKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97)
TICKS += (0.975, 0.98, 0.985, 0.99)


def accuracy_axis(ax: Axes) -> Axes:
    """Accuracies as they are drawn, upwards on the logarithmic scale of the error."""
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    values = np.concatenate(drawn) if drawn else np.array([])
    values = np.minimum(values[np.isfinite(values)], 0.9999)
    if not len(values):
        return ax
    top, bottom = np.log(1 - values.max()), np.log(1 - values.min())
    pad = max(0.08 * (bottom - top), 0.02)
    low, high = 1 - math.exp(bottom + pad), 1 - math.exp(top - pad)
    style.error_axis(ax, low, high)
    room, kept = (bottom - top + 2 * pad) / 9, list[float]()
    for tick in TICKS[::-1]:
        apart = not kept or math.log(1 - tick) - math.log(1 - kept[-1]) >= room
        if low < tick < high and apart:
            kept.append(tick)
    ax.yaxis.set_major_locator(FixedLocator(kept) if len(kept) > 1 else MaxNLocator(4))
    return ax


def name_arms(ax: Axes, both: Both, kind: str) -> Axes:
    """Names the arms at the right of a panel, where their means end."""
    ax.get_ylim()  # or the limits, and with them the transformation, are not yet those drawn
    to_axes, ends = ax.transData + ax.transAxes.inverted(), {}
    for experiment, results in both.items():
        means = _drawn(results, kind).mean()
        if len(means):
            ends[experiment] = float(to_axes.transform((0, means.iloc[-1]))[1])
    low, high = min(ends.values(), default=0), max(ends.values(), default=0)
    if len(ends) == 2 and high - low < 0.24:  # or the names would touch
        order = sorted(ends, key=lambda experiment: ends[experiment])
        ends = dict(zip(order, ((low + high) / 2 + shift for shift in (-0.12, 0.12)), strict=True))
    for experiment, height in ends.items():
        arm = ARMS[experiment]
        words = arm.label.replace(" ", "\n")
        place = {"xycoords": "axes fraction", "xytext": (4, 0), "textcoords": "offset points"}
        ax.annotate(words, (1.0, height), **place, color=arm.color, va="center", fontsize=7.5)
    return ax


def _key(figure: Figure, ax: Axes) -> None:
    handles = [
        ax.plot([], [], color=arm.color, ls=arm.linestyle, marker=arm.marker, **MEAN)[0]
        for arm in ARMS.values()
    ]
    handles += ax.plot([], [], color=style.INK, lw=0.6, alpha=0.5)
    handles += ax.plot([], [], **RING, mec=style.INK)
    names = [f"{arm.label}, mean" for arm in ARMS.values()]
    names += ["every seed", "best on held-out images"]
    figure.legend(handles, names, loc="outside lower center", ncols=4)


# --- findings -------------------------------------------------------------------------------------


def summary(data: StudyData) -> str:
    """What the nine claims come to; markdown."""
    return " ".join(_answers(read(data)))


def findings(data: StudyData) -> str:
    """The answer, then the numbers behind it for each number of training images; markdown."""
    found = read(data)
    first, *others = _answers(found)
    lines = [f"**{first}** {' '.join(others)}", ""]
    for size, both in found.items():
        lines += [_in_words(size, both), "", _table(both), ""]
    return "\n\n".join(["\n".join(lines).strip(), *_caveats(found)])


QUESTIONS = (
    (
        "bn_alone",
        "Against the baseline with its best dropout, BN without dropout is",
        {
            "holds": f"at least as good (to {100 * MARGIN:g} points)",
            "does not hold": "worse",
            "undecided": "neither shown to be as good nor shown to be worse",
        },
    ),
    (
        "dropout_gain",
        "What dropout adds is",
        {
            "holds": "less with BN",
            "does not hold": "more with BN",
            "undecided": "not shown to differ with BN",
        },
    ),
    (
        "both_together",
        "Dropout added to BN",
        {
            "holds": "still helps",
            "does not hold": "clashes with it and costs accuracy",
            "undecided": "is not shown to help or to clash",
        },
    ),
)
"""Each claim's id, and its verdicts in words; the study's own question first."""


def _answers(found: Mapping[int, Both]) -> list[str]:
    """A sentence for each question: where the claim holds, where it does not, where it is open."""
    judged = {size: {k.id: k.verdict for k in _claims(size, both)} for size, both in found.items()}
    answers = []
    for id, stem, words in QUESTIONS:
        parts = []
        for verdict, told in words.items():
            where = [
                s for s, verdicts in judged.items() if verdicts[f"{id}_{s}_difference"] == verdict
            ]
            if where:
                images = "" if parts else " training images"
                parts.append(f"{told} on {_list([f'{size:,}' for size in where])}{images}")
        answers.append(f"{stem} {', '.join(parts)}.")
    return answers


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _in_words(size: int, both: Both) -> str:
    base, bn = both[BASELINE], both[BN]
    best = {experiment: results.best() for experiment, results in both.items()}
    if any(dropout is None for dropout in best.values()):
        return f"**{size:,} training images**: the runs that choose the dropout are not all in."
    lines = [f"**{size:,} training images**", ""]
    lines += [_worth(ARMS[experiment].label, results) for experiment, results in both.items()]
    if not best[BASELINE]:
        exactly = "" if best[BN] else ": the difference is exactly 0, and the claim undecided"
        lines.append(f"- So there is nothing that BN could reduce{exactly}.")
    plain = [results.of(results.test, 0.0) for results in (bn, base)]
    gaps = [results.of(results.gap, 0.0) for results in (bn, base)]
    peaks = [bn.of(bn.peak, 0.0), base.of(base.peak, base.best())]
    lines += [
        f"- BN without dropout minus the baseline with its best: {_points(alone(both))}; minus the "
        f"baseline without: {_points(plain[0] - plain[1])}. With every run at its own best step, "
        "which only the test set tells, the first of these is "
        f"{_points(peaks[0] - peaks[1])}: so much is not for training too long.",
        "- The gap between training and test accuracy without dropout, which a regularizer might "
        f"close: {_points(gaps[1])} without BN, {_points(gaps[0])} with; BN minus baseline "
        f"{_points(gaps[0] - gaps[1])}.",
    ]
    return "\n".join(lines)


def _worth(label: str, results: Results) -> str:
    """The arm's best dropout, and how what it does to the test accuracy comes about."""
    best, some = results.best(), results.best(nonzero=True)
    changed = (results.train, results.gap, results.test)
    train, gap, test = (_points(results.change(table, some)) for table in changed)
    does = f"changes the training accuracy by {train}, the gap by {gap}, and so the test accuracy "
    chosen = f"{label[0].upper()}{label[1:]}, dropout {best:g} is best on held-out images"
    if best:
        return f"- {chosen}; it {does}by {test}."
    if some is None:
        return f"- {chosen}."
    return f"- {chosen}, so dropout adds 0 by definition; the next best, {some:g}, {does}by {test}."


def _points(values: pd.Series) -> str:
    found = _mean(values)
    return c.shown("_difference", found.estimate, found.low, found.high)


def _table(both: Both) -> str:
    """A row per dropout and arm; bold where held-out images choose it."""
    rows = []
    dropouts = {d for r in both.values() for d in (*(r.tuned.axes[0] if r.tuned else ()), *r.test)}
    for dropout in sorted(dropouts):
        for experiment, results in both.items():
            tuned = results.tuned_rate(dropout)
            mark = "**" if dropout == results.best() else ""
            rows.append(
                [
                    f"{mark}{dropout:g}{mark}",
                    ARMS[experiment].label,
                    _rate(results, dropout),
                    "-" if tuned is None else f"{100 * tuned[1]:.1f} %",
                    _mean(results.of(results.train, dropout)).percent(),
                    _mean(results.of(results.test, dropout)).percent(),
                    _points(results.of(results.gap, dropout)).removesuffix(" points"),
                ]
            )
    head = ["dropout (bold: chosen)", "arm", "learning rate", "held-out", "training", "test"]
    return readme.table([*head, "gap, points"], rows)


def _rate(results: Results, dropout: float) -> str:
    """The rate of the final runs, or that to be; whether it is an end of the grid, or not its best
    as the grid now stands."""
    tuned = results.tuned_rate(dropout)
    rate = results.rates.get(dropout, math.nan if tuned is None else tuned[0])
    if math.isnan(rate) or results.tuned is None:
        return "-" if math.isnan(rate) else f"{rate:g}"
    tried = results.tuned.axes[1]
    end = {tried[0]: " (lowest)", tried[-1]: " (highest)"}.get(rate, "")
    other = "" if tuned is None or tuned[0] == rate else f", not the best, {tuned[0]:g}"
    return f"{rate:g}{end}{other}"


def _caveats(found: Mapping[int, Both]) -> list[str]:
    """What two seeds on a grid of rates cannot know."""
    return [words for words in (_ends_in_words(found), _lost_in_words(found)) if words]


def _lost_in_words(found: Mapping[int, Both]) -> str:
    """The settings at whose chosen rate not every fresh seed trains."""
    told = []
    for size, both in found.items():
        for experiment, results in both.items():
            for dropout in results.test:
                seeds = results.test[dropout].dropna().to_numpy(float)
                lost = np.count_nonzero(seeds < TRAINS)
                if lost:
                    told.append(
                        f"{ARMS[experiment].label}, dropout {dropout:g} at rate "
                        f"{results.rates[dropout]:g} on {size:,} images, {lost} of {len(seeds)}"
                    )
    if not told:
        return ""
    return (
        f"Two seeds can choose a rate at the edge of what trains. Fresh seeds that ended below "
        f"{100 * TRAINS:g} %: {'; '.join(told)}."
    )


def _ends_in_words(found: Mapping[int, Both]) -> str:
    """How many settings chose a rate at an end of the grid, beyond which a better one may lie."""
    chosen = [
        (tuned[0], results.tuned.axes[1])
        for both in found.values()
        for results in both.values()
        if results.tuned is not None
        for dropout in results.tuned.axes[0]
        if (tuned := results.tuned_rate(dropout)) is not None
    ]
    if not chosen:
        return ""
    low = sum(rate == rates[0] for rate, rates in chosen)
    high = sum(rate == rates[-1] for rate, rates in chosen)
    return (
        f"Of {style.count(len(chosen), 'setting')} {low} chose the lowest rate of the grid and "
        f"{high} the highest: there a better rate may lie beyond."
    )
