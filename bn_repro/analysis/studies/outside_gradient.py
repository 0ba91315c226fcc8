"""A normalization outside of the gradient step (sec. 2), beside the same inside of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import gates, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.rules import Above
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

MODULE = "bn_repro.norm.outside_gradient"


def _arm(label: str, name: str, color: str, line: Any, marker: str) -> Arm:
    return Arm(label, color, line, marker, {"model.norm": f"{MODULE}:{name}"})


CENTRED = _arm("centred, outside", "centred", "#e6912e", (0, (4.5, 1.4)), "s")
SCALED = _arm("centred and scaled, outside", "scaled", "#b3261e", (0, (1.2, 1.1)), "v")
CENTRED_INSIDE = _arm("centred, inside", "centred_inside", "#56a3dc", (0, (6, 1.3, 1.2, 1.3)), "^")
SCALED_INSIDE = _arm("centred and scaled, inside (BN)", "scaled_inside", "#0b4a8f", "-", "o")
ARMS = (CENTRED, SCALED, CENTRED_INSIDE, SCALED_INSIDE)
PAIRS = {"centred": (CENTRED, CENTRED_INSIDE), "scaled": (SCALED, SCALED_INSIDE)}
GROWS = 1.25
"""A bias that grows steadily doubles from half of the steps to all; fixed before any run."""
STAYS = 1e-3
"""A bias of a smaller norm has not moved: rounding moves it where it has no gradient."""


def biases(runs: Runs, arm: Arm, name: str = "bias") -> pd.DataFrame:
    """The norm of the layers' biases (or ``name``), by seed (row) and step (column).

    Over the three hidden layers: the root of the sum of squares.
    """
    rows = arm.of(runs).probes
    if rows.empty or name not in rows:
        return pd.DataFrame()
    squares = rows.assign(square=rows[name] ** 2)
    return squares.pivot_table(index="seed", columns="step", values="square", aggfunc="sum") ** 0.5


def at_ends(wide: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The last column (step), and the last of the first half of the steps, by seed (row)."""
    steps = wide.columns.to_numpy(float)
    half = wide.loc[:, steps <= steps.max(initial=0) / 2]
    return q.at_the_end(wide), q.at_the_end(half)


def claims(runs: Runs) -> Iterator[Claim]:
    """What section 2 says of the bias, of the network, and of scales besides centres."""
    for name, (outside, inside) in PAIRS.items():
        what = "centred" if name == "centred" else "centred and scaled"
        ends, half_way = at_ends(biases(runs, outside))
        yield Claim(
            f"{name}_bias_grows_ratio",
            f"Where inputs are {what} outside of the gradient step, the bias grows without bound.",
            "2",
            q.factor(
                ends,
                half_way,
                "The norm of the hidden layers' biases at the last step over that at half of the "
                "steps; a steady growth doubles it",
            ),
            Above(GROWS),
        )
        still = q.at_the_end(biases(runs, inside))
        yield Claim(
            f"{name}_bias_stays",
            f"Where they are {what} inside of it, the bias does not move.",
            "2",
            q.failures(
                (still <= STAYS).tolist(),
                f"Share of the runs in which its norm at the last step is at most {STAYS:g}",
            ),
            Above(0.5),
        )
    for name, (outside, inside) in PAIRS.items():
        what = "Centring" if name == "centred" else "Centring and scaling"
        good, bad = (_final(runs, arm) for arm in (inside, outside))
        yield Claim(
            f"{name}_inside_difference",
            f"{what} inside of the gradient step ends with the higher test accuracy.",
            "2, 3",
            q.difference(
                good,
                bad,
                f"Test accuracy at the last step, inside minus outside. {q.AT_CHANCE}",
            ),
            Above(),
        )
    yield Claim(
        "scaled_outside_fails",
        "Where they are centred and scaled outside of it, the network blows up.",
        "2",
        q.failures(
            gates.failed(*_best(runs, SCALED)),
            "Share of the runs that end with a loss that is not finite, or whose accuracy never "
            "exceeds twice chance",
        ),
        Above(0.5),
    )


def _final(runs: Runs, arm: Arm) -> pd.Series:
    return arm.of(runs.final("test", diverged=runs.chance)).by_seed()


def _best(runs: Runs, arm: Arm) -> tuple[np.ndarray, float, np.ndarray]:
    own = arm.of(runs)
    best = own.best(missing=runs.chance).by_seed().to_numpy(float)
    return best, runs.chance, (own.runs["state"] == "diverged").to_numpy(bool)


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_outside``: the bias, the weights, the loss and the accuracy over training."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True).ravel()
        for ax, (name, words) in zip(
            axes[:2],
            {"bias": "norm of the biases", "norm": "norm of the weights"}.items(),
            strict=True,
        ):
            _draw(ax, runs, lambda arm, name=name: biases(runs, arm, name)).set_ylabel(words)
            ax.set_yscale("log")
        loss = lambda arm: arm.of(runs).curve(split="test", metric="loss")  # noqa: E731
        _draw(axes[2], runs, loss).set(ylabel="test loss", yscale="log")
        _draw(axes[3], runs, lambda arm: arm.of(runs).curve(split="test"))
        style.percent_axis(axes[3]).set_ylabel("test accuracy")
        for ax in axes[2:]:
            style.steps_axis(ax)
        style.letters(axes)
        figure.legend(*axes[3].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return {"figure_outside": figure}


def _draw(ax: Axes, runs: Runs, table: Any) -> Axes:
    """Every arm's seeds and their median."""
    for arm in ARMS:
        panels.curves(ax, table(arm), arm)
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows = []
    for arm in ARMS:
        found, final = biases(runs, arm), _final(runs, arm)
        if found.size and len(final):
            loss = q.at_the_end(arm.of(runs).curve(split="test", metric="loss"))
            bias = [f"{found.iloc[:, k].median():.3g}" for k in (found.shape[1] // 2, -1)]
            rows.append([arm.label, *bias, f"{loss.median():.3g}", final])
    return {"rows": rows}


def keep(runs: Runs) -> Runs:
    """The probes alone, without the traces."""
    return replace(runs, traces=runs.traces.iloc[:0])


STUDY = Study("outside_gradient.md.j2", figures, claims, ARMS, values, traces=True, keep=keep)
