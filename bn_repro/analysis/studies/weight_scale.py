"""The scale of a layer's weights, and its Jacobian, with BN and without (sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from bn_repro.analysis import frames
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.rules import Above, Below
from bn_repro.analysis.studies.inception import BN_BASELINE
from bn_repro.analysis.studies.weight_scale_figures import figures
from bn_repro.analysis.studies.weight_scale_runs import (
    LAYERS,
    NETWORKS,
    at_end,
    by_scale,
    growth,
)
from bn_repro.analysis.study import Study, probes_alone
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

EXACT = 1e-9
"""A departure up to this counts as none in float64; fixed before any run."""
ENDS = {"first": "At the first step", "last": "At the last step"}
KINDS = {
    0: ("jacobian", "of a layer's own Jacobian", "dy'/dy", "the initial scale"),
    1: ("normalized_jacobian", "between normalized inputs", "J, the paper's Jacobian", ""),
}
"""Two Jacobians, by whether their inputs are normalized: names, words, and what a verdict hangs
on."""


def claims(runs: Runs) -> Iterator[Claim]:
    """What section 3.3 states, and what it conjectures."""
    yield Claim(
        "scale_leaves_output_exact",
        "With BN and epsilon 0 the scale of a layer's weights changes neither its output nor the "
        "gradient that it passes on.",
        "3.3",
        q.failures(
            _exact(runs, ("output", "input_gradient")),
            "Share of the runs (MNIST and Inception) in which, in float64 and with epsilon 0, in "
            "every layer y and dl/du depart from those at a = 1 by at most 1e-9 of their norms, "
            "for all a from 0.001 to 1,000",
        ),
        Above(0.5),
    )
    yield Claim(
        "scale_shrinks_gradient_exact",
        "With BN and epsilon 0, weights a times larger have a gradient a times smaller.",
        "3.3",
        q.failures(
            _exact(runs, ("weight_gradient",)),
            "The same share for a times the gradient dl/d(aW), against dl/dW",
        ),
        Above(0.5),
    )
    for (end, when), (normalized, (name, of, what, depends_on)) in product(
        ENDS.items(), KINDS.items()
    ):
        with_bn, without = (
            at_end(runs, arm, "distance", end, normalized).mean(axis=1) for arm in (BN, BASELINE)
        )
        yield Claim(
            f"{name}_{end}_distance_ratio",
            f"{when}, the singular values {of} are closer to 1 with BN.",
            "3.3",
            q.factor(
                with_bn,
                without,
                f"The mean of |ln s| over the singular values s of {what}, at 10 images, averaged "
                "over the layers. With BN over without",
            ),
            Below(1.0),
            depends_on=depends_on,
        )
    for end, when in ENDS.items():
        share, other = (at_end(runs, arm, "within", end, 1).mean(axis=1) for arm in (BN, BASELINE))
        found = q.mean(
            share - 0.5,
            "The share of the singular values of J, with BN, that lie from 1/2 to 2, averaged over "
            "the layers, minus a half",
        )
        without = f"without BN {100 * (other.mean() - 0.5):+.2f}" if len(other) else ""
        yield Claim(
            f"jacobian_{end}_within_difference",
            f"{when}, most singular values between normalized inputs lie from 1/2 to 2 with BN.",
            "3.3",
            replace(found, words=found.words.replace(q.OVER_SEEDS, q.ONE_SAMPLE), beside=without),
            Above(),
        )
    grown, other = (growth(runs, arm).mean(axis=1) for arm in (BN, BASELINE))
    yield Claim(
        "weight_growth_ratio",
        "With BN the weights grow less during training.",
        "3.3",
        q.factor(
            grown,
            other,
            "The norm of a layer's weights at the last step over that at the first, averaged over "
            "the layers. With BN over without",
        ),
        Below(1.0),
        depends_on="the rate, the initial scale",
    )


def _exact(runs: Runs, names: Sequence[str]) -> list[bool]:
    """By run with BN: whether the departures ``names`` are at most ``EXACT`` at epsilon 0."""
    found = []
    for arm in (BN, BN_BASELINE):
        rows = frames.select(arm.of(runs).probes, probe="scale")
        rows = rows.loc[rows["epsilon"] == 0] if len(rows) else rows
        for _, own in rows.groupby(["experiment", "id", "seed"]):
            found.append(bool((own[list(names)].to_numpy(float) <= EXACT).all()))
    return found


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    return {
        "departures": _departures(runs),
        "jacobians": _jacobians(runs),
        "grown": _grown(runs),
        "gradients": {
            arm.label: q.at_the_end(found).mean()
            for arm in MNIST_ARMS
            if (found := at_end(runs, arm, "gradient", "last")).size
        },
    }


def _departures(runs: Runs) -> list[list[str]]:
    """How far the output and the gradients depart, by the factor; a head first."""
    rows: list[list[str]] = []
    for label, arm in NETWORKS.items():
        found = by_scale(runs, arm, own_epsilon=True)
        for name, words in (("output", "output"), ("weight_gradient", "a x gradient")):
            if len(found):
                rows = rows or [["network", "of", *(f"a = {a:g}" for a in found.index)]]
                rows.append([label, words, *(f"{value:.1g}" for value in found[name])])
    return rows


def _jacobians(runs: Runs) -> list[list[str]]:
    """Percentiles of the singular values, at both ends, by layer; a head first."""
    rows = [["network", "Jacobian", "at", "15th", "50th", "85th", "within a factor 2 of 1"]]
    for arm in MNIST_ARMS:
        for normalized, kind in ((0, "dy'/dy"), (1, "J, normalized inputs")):
            for end in ENDS:
                shown = [
                    at_end(runs, arm, name, end, normalized).mean(axis=1).mean()
                    for name in ("p15", "p50", "p85", "within")
                ]
                cells = [f"{value:.2f}" for value in shown[:3]]
                rows.append([arm.label, kind, f"{end} step", *cells, f"{100 * shown[3]:.0f} %"])
    return rows if len(frames.select(runs.probes, probe="jacobians")) else []


def _grown(runs: Runs) -> list[list[str]]:
    """How the norm of each layer's weights grows; a head first."""
    rows = [["layer", *(arm.label for arm in MNIST_ARMS)]]
    both = [growth(runs, arm) for arm in MNIST_ARMS]
    for layer in LAYERS:
        cells = [f"{w[layer].mean():.2f} x" if layer in w else "-" for w in both]
        rows.append([layer, *cells])
    return rows if any(wide.size for wide in both) else []


STUDY = Study("weight_scale.md.j2", figures, claims, values=values, traces=True, keep=probes_alone)
