"""BN in a recurrent network, which section 5 leaves to future work.

The claims were written before the runs (docs/log.md, 2026-11-26, "Recurrent networks").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bn_repro.analysis import quantities as q
from bn_repro.analysis import steps_to
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies import recurrent_runs as runs_of
from bn_repro.analysis.studies.recurrent_figures import figures
from bn_repro.analysis.studies.recurrent_runs import ARMS, NONE, PER_STEP, SHARED, When
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

SECTION = "5"
DEPENDS_ON = "the grid of rates, the length"
WORDS: dict[When, str] = {"start": "After the first step", "end": "At the end"}


def claims(runs: Runs) -> Iterator[Claim]:
    """Accuracy, steps, and at the start and the end how gradients reach the first rows."""
    yield Claim(
        "bn_over_none_difference",
        "With BN, each step with statistics of its own, a recurrent network ends with a higher "
        "test accuracy than without, each at its own best rate.",
        SECTION,
        higher(runs, PER_STEP, NONE),
        Above(),
        depends_on=DEPENDS_ON,
    )
    race = runs_of.race(runs)
    yield Claim(
        "fewer_steps_ratio",
        "With BN a recurrent network needs fewer training steps, each at its own best rate.",
        SECTION,
        race.quantity(),
        Above(1.0),
        gates=[race.gate()],
        depends_on=f"{DEPENDS_ON}, the target",
    )
    yield Claim(
        "per_step_over_shared_difference",
        "In inference statistics of each step serve better than those that all steps share.",
        "not in the paper",
        higher(runs, PER_STEP, SHARED),
        Above(),
        depends_on=DEPENDS_ON,
    )
    for when in WORDS:
        yield from _propagation(runs, when)
    rows = [runs_of.by_rows(runs, arm) for arm in (PER_STEP, NONE)]
    yield Claim(
        "row_by_row_difference",
        "Reading row by row, where a digit's first rows are blank, a recurrent network ends "
        "higher with BN.",
        "not in the paper",
        q.higher_at_the_end(rows[0], rows[1], (PER_STEP.label, NONE.label)),
        Above(),
        depends_on="the rate, epsilon",
    )


def higher(runs: Runs, high: Arm, low: Arm) -> q.Quantity:
    """How far ``high`` ends above ``low``, over seeds and images."""
    a, b = runs_of.curve(runs, high), runs_of.curve(runs, low)
    images = runs_of.final(runs, high).right(), runs_of.final(runs, low).right()
    return q.higher_at_the_end(a, b, (high.label, low.label), images)


def _propagation(runs: Runs, when: When) -> Iterator[Claim]:
    with_bn, without = (runs_of.gradients(runs, arm, when) for arm in (PER_STEP, NONE))
    of_state = "of the loss's gradient with respect to h_t, over that of the last state"
    yield Claim(
        f"{when}_reaches_ratio",
        f"{WORDS[when]} more of the last state's gradient reaches the first state with BN.",
        SECTION,
        q.factor(
            q.at(with_bn, 1),
            q.at(without, 1),
            f"The norm {of_state}, at t = 1, with BN over without",
        ),
        Above(1.0),
        depends_on="the initial weights, the rate",
    )
    yield Claim(
        f"{when}_even_ratio",
        f"{WORDS[when]} gradients are closer to the last state's with BN than without.",
        SECTION,
        q.factor(
            runs_of.distance(with_bn),
            runs_of.distance(without),
            f"|ln| of the norm {of_state}, averaged over the states before it, with BN over "
            "without",
        ),
        Below(1.0),
        depends_on="the initial weights, the rate",
    )


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    there = [arm for arm in ARMS if runs_of.curve(runs, arm).size]
    ends = {arm.label: q.at_the_end(runs_of.curve(runs, arm)) for arm in there}
    return {
        "accuracies": {label: percent(found) for label, found in ends.items()},
        "arms": _arms(runs, there),
        "best_rate": {arm.label: runs_of.rate(runs, arm) for arm in there},
        "lowest_rate": min(
            (min(of.axes[0]) for a in there if (of := runs_of.grid(runs, a))), default=0
        ),
        "gradients": _gradients(runs),
        "same": runs_of.same_training(runs),
        "rows": _rows(runs),
        "rows_best": _best_of_rows(runs),
    }


def _arms(runs: Runs, there: list[Arm]) -> list[list[str]]:
    """A row an arm: its rate, its test accuracy by both statistics, its steps to the target."""
    if not there:
        return []
    target = runs_of.race(runs).target() if NONE in there else None
    rows = [["arm", "rate", "held-out accuracy by rate", "test, moving averages"]]
    goal = "the target" if target is None else percent(target)
    rows[0] += ["test, Algorithm 2", f"steps to {goal}"]
    for arm in there:
        wide, exact = (
            runs_of.curve(runs, arm),
            runs_of.final(runs, arm).final("test", statistics="population"),
        )
        tried = runs_of.grid(runs, arm)
        means = dict(zip(tried.axes[0], tried.means, strict=True)) if tried else {}
        grid = ", ".join(f"{rate:g}: {100 * mean:.1f}" for rate, mean in means.items())
        cells = [grid, percent(q.at_the_end(wide)), percent(exact.by_seed())]
        if target is None:
            cells.append("-")
        else:
            steps = steps_to.median_steps(steps_to.by_row(wide, target))
            cells.append(steps_to.shown(steps, float(wide.columns[-1])))
        rows.append([arm.label, f"{runs_of.rate(runs, arm):g}", *cells])
    return rows


def _rows(runs: Runs) -> dict[str, str]:
    """The accuracies of what reads row by row, by arm."""
    ends = {arm.label: q.at_the_end(runs_of.by_rows(runs, arm)) for arm in (NONE, PER_STEP)}
    return {label: percent(found) for label, found in ends.items() if len(found)}


def _best_of_rows(runs: Runs) -> pd.Series:
    """Of what reads row by row, by seed: the highest accuracy with BN minus that without."""
    with_bn, without = (runs_of.by_rows(runs, arm).max(axis=1) for arm in (PER_STEP, NONE))
    return (with_bn - without).dropna()


def _gradients(runs: Runs) -> list[list[str]]:
    """A row an arm and a time: the geometric mean over seeds of the gradient at some steps."""
    rows, steps = [], (1, 7, 14, 21)
    for when, words in WORDS.items():
        for arm in (NONE, PER_STEP):
            wide = runs_of.gradients(runs, arm, when)
            if wide.size:
                cells = [f"{runs_of.typical(q.at(wide, t)):.3g}" for t in steps]
                rows.append(
                    [f"{words}, {arm.label}", *cells, f"{runs_of.distance(wide).mean():.2f}"]
                )
    head = ["gradient", *(f"t = {t}" for t in steps), "distance"]
    return [head, *rows] if rows else []


STUDY = Study("recurrent.md.j2", figures, claims, values=values, traces=True, keep=probes_alone)
