"""Figure 1 (sec. 4.1): MNIST with and without BN; accuracy, and the inputs of the sigmoids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from bn_repro.analysis import frames, movement, steps_to
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Images
from bn_repro.analysis.rules import Above, AtEach
from bn_repro.analysis.studies import fig1_movement as inputs
from bn_repro.analysis.studies.fig1_densities import SEEDS
from bn_repro.analysis.studies.fig1_figures import SHOWN, curves, figures
from bn_repro.analysis.studies.fig1_layers import MEASURES
from bn_repro.analysis.studies.fig1_rows import UNIT_STEPS, keep
from bn_repro.analysis.studies.fig1_units import typical_unit
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

NAMES = (BN.label, BASELINE.label)


def claims(runs: Runs) -> Iterator[Claim]:
    """The claims of section 4.1, in the paper's order."""
    without, with_bn = curves(runs)
    where = "4.1, Figure 1(a)"
    yield Claim(
        "final_accuracy_difference",
        "With BN the network reaches a higher test accuracy.",
        where,
        q.higher_at_the_end(with_bn, without, NAMES, answers(runs)),
        Above(),
        depends_on="the rate",
    )
    yield Claim(
        "ahead_at_each_step_difference",
        "BN is ahead at each evaluated step.",
        where,
        q.ahead_at_each(with_bn, without, NAMES, images=last_answers(runs)),
        AtEach("step"),
        depends_on="the rate",
    )
    yield from inputs.claims(runs)


def answers(runs: Runs) -> Images:
    """Which test images each run has right at the end, with BN and without."""
    return BN.of(runs).right(), BASELINE.of(runs).right()


def last_answers(runs: Runs) -> dict[int, Images]:
    """The same by step: of the last one, since only its answers are recorded."""
    return {int(step): answers(runs) for step in curves(runs)[0].columns[-1:]}


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    without, with_bn = curves(runs)
    exact = BN.of(runs).curve(split="test", statistics="population")
    lead = q.differences(with_bn, without, last_answers(runs)).values()
    return {
        "arms": [
            {
                "label": arm.label,
                "final": q.at_the_end(wide),
                "to95": steps_to.shown(
                    steps_to.median_steps(steps_to.by_row(wide, 0.95)), runs.last_step
                ),
            }
            for arm, wide in zip(MNIST_ARMS, (without, with_bn), strict=True)
            if wide.size
        ],
        "shown": min(SHOWN, runs.runs["seed"].nunique()),
        "densities": sorted(set(runs.histograms["seed"])),
        "algorithm2": 100 * (q.at_the_end(exact) - q.at_the_end(with_bn)).dropna(),
        "ahead": sum(f.low > 0 for f in lead),
        "evaluations": len(lead),
        **_of_inputs(runs),
    }


def _of_inputs(runs: Runs) -> dict[str, Any]:
    """What is said of the sigmoids' inputs; empty where they were not traced."""
    rows, traced = inputs.traced(runs), not runs.traces.empty
    return {
        "moved": {k: inputs.ratio(rows, None, relative=k).interval for k in (True, False)}
        if traced
        else {},
        "movement": inputs.by_layer_and_start(runs) if traced else [],
        "move_more": _layers_that_move_more(rows) if traced else [],
        "measures": inputs.by_measure(runs),
        "by_doubling": inputs.by_doubling(runs),
        "registered": inputs.REGISTERED,
        "typical_unit": typical_unit(inputs.probed(runs)),
        "ends": _ends(runs) if traced else [],
        "unit_steps": UNIT_STEPS,
    }


def _layers_that_move_more(rows: inputs.Rows) -> list[str]:
    """The layers whose pooled inputs move more with BN, relative to their width and absolutely."""
    return [
        site
        for site in inputs.SITES
        if all(
            inputs.ratio(rows, None, site=site, relative=k).interval.low > 1 for k in (True, False)
        )
    ]


def _ends(runs: Runs) -> list[list[str]]:
    """Medians over seeds and the last recorded mini-batches, over each layer's units."""
    rows = [["arm", "layer", *MEASURES.values()]]
    traces = {arm.label: frames.select(arm.of(runs).traces, unit=None) for arm in MNIST_ARMS}
    for (label, pooled), site in product(traces.items(), inputs.SITES):
        layer = frames.select(pooled, site=site).dropna(subset="saturated")  # of seeds in detail
        steps = sorted(set(layer["step"]))[-movement.WINDOW :]
        end = layer.loc[layer["step"].isin(steps)]
        if len(end):
            width, share = (end["p85"] - end["p15"]).median(), end["saturated"].median()
            gradient = end["grad_norm"].median()
            rows.append([label, site, f"{width:.2f}", f"{100 * share:.1f} %", f"{gradient:.2g}"])
    return rows


STUDY = Study(
    prose="fig1.md.j2",
    claims=claims,
    figures=figures,
    values=values,
    targets=(0.9, 0.95, 0.97),
    traces=True,
    keep=keep,
    histograms=SEEDS,
)
