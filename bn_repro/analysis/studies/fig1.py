"""Figure 1 (sec. 4.1): MNIST with and without BN; accuracy, and the inputs of the sigmoids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from bn_repro.analysis import claims as c
from bn_repro.analysis import intervals, movement, steps_to, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies.fig1_figures import LAST, MEASURES, SITES, UNITS, curves, figures
from bn_repro.analysis.study import Study, times
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

STARTS = (1, 1_000, 10_000)
"""Where in training the measure of movement starts, in the findings."""
NAMES = (BN.label, BASELINE.label)


def claims(runs: Runs) -> Iterator[Claim]:
    """The claims of section 4.1, in the paper's order."""
    without, with_bn = curves(runs)
    where = "4.1, Figure 1(a)"
    yield Claim(
        "final_accuracy_difference",
        "With BN the network reaches a higher test accuracy.",
        where,
        c.higher_at_the_end(with_bn, without, NAMES),
        c.Above(),
    )
    yield Claim(
        "ahead_at_each_step_difference",
        "BN is ahead at each evaluated step.",
        where,
        *c.ahead_at_each_step(with_bn, without, NAMES),
    )
    for name, unit in UNITS.items():
        what = {"unit": "one unit", "layer": "the layer"}[name]
        words = {"unit": "unit 0", "layer": "all units, pooled,"}[name]
        yield Claim(
            f"percentile_movement_{name}_ratio",
            f"With BN the inputs of the last sigmoids ({what}) have a more stable distribution as "
            "training progresses.",
            "4.1, Figure 1(b, c)",
            c.Quantity(
                "Movement of the {15, 50, 85}th percentiles, over the training mini-batch, of the "
                f"sigmoid's input for {words} of the last hidden layer: {movement.RULE}. With BN "
                f"over without, paired by seed: geometric mean with its {c.OVER_SEEDS}",
                _moved(runs, LAST, unit),
                "x",
            ),
            c.Below(1.0),
        )


def _moved(runs: Runs, site: str, unit: int | None, **how: Any) -> intervals.Interval:
    return movement.movement_ratio(BN.of(runs), BASELINE.of(runs), site, unit, **how)


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    without, with_bn = curves(runs)
    exact = BN.of(runs).curve(split="test", statistics="population")
    lead = c.differences(*tables.shared(with_bn, without), intervals.LEVEL)
    traced = not runs.traces.empty
    return {
        "arms": [
            {
                "label": arm.label,
                "final": c.at_the_end(wide),
                "to95": steps_to.shown(
                    steps_to.median_steps(steps_to.by_row(wide, 0.95)), runs.last_step
                ),
            }
            for arm, wide in zip(MNIST_ARMS, (without, with_bn), strict=True)
            if wide.size
        ],
        "algorithm2": 100 * (c.at_the_end(exact) - c.at_the_end(with_bn)).dropna(),
        "ahead": sum(f.low > 0 for f in lead),
        "evaluations": len(lead),
        "moved": {k: _moved(runs, LAST, None, relative=k) for k in (True, False)} if traced else {},
        "movement": movement_table(runs) if traced else [],
        "ends": _ends(runs) if traced else [],
    }


def movement_table(runs: Runs) -> list[list[str]]:
    """How the movement with BN over that without depends on layer, start and measure."""
    starts = [start for start in STARTS if start < runs.last_step]
    head = ["layer", "from step", "one unit", "one unit, absolute", "layer", "layer, absolute"]
    return [head] + [
        [
            site,
            f"{start:,}",
            *(
                times(_moved(runs, site, unit, start=start, relative=relative))
                for unit, relative in product(UNITS.values(), (True, False))
            ),
        ]
        for site, start in product(reversed(SITES), starts)
    ]


def _ends(runs: Runs) -> list[list[str]]:
    """Medians over seeds and the last recorded mini-batches, over each layer's units."""
    rows = [["arm", "layer", *MEASURES.values()]]
    for arm, site in product(MNIST_ARMS, SITES):
        pooled = tables.select(arm.of(runs).traces, unit=None, site=site)
        steps = sorted(set(pooled["step"]))[-movement.WINDOW :]
        end = pooled.loc[pooled["step"].isin(steps)]
        if len(end):
            width, share = (end["p85"] - end["p15"]).median(), end["saturated"].median()
            gradient = end["grad_norm"].median()
            rows.append(
                [arm.label, site, f"{width:.2f}", f"{100 * share:.1f} %", f"{gradient:.2g}"]
            )
    return rows


STUDY = Study(
    prose="fig1.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=(0.9, 0.95, 0.97),
    traces=True,
)
