"""A normalization outside of the gradient step (sec. 2), beside the same inside of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bn_repro.analysis import gates, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent
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
WHAT = {"centred": "centred", "scaled": "centred and scaled"}
RATE, USUAL = "optimizer.lr", 0.1
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
    usual = runs.where(block="norms")
    for name, (outside, inside) in PAIRS.items():
        ends, half_way = at_ends(biases(usual, outside))
        yield Claim(
            f"{name}_bias_grows_ratio",
            f"Where inputs are {WHAT[name]} outside of the gradient step, the bias before it keeps "
            "growing.",
            "2",
            q.factor(
                ends,
                half_way,
                "The norm of the hidden layers' biases at the last step over that at half of the "
                "steps; a steady growth doubles it",
            ),
            Above(GROWS),
            hangs_on="the rate",
        )
        still = q.at_the_end(biases(usual, inside))
        yield Claim(
            f"{name}_bias_stays",
            f"Where inputs are {WHAT[name]} inside of the gradient step, the bias before it does "
            "not move.",
            "2",
            q.failures(
                (still <= STAYS).tolist(),
                f"Share of the runs in which its norm at the last step is at most {STAYS:g}; what "
                "is below is rounding",
            ),
            Above(0.5),
        )
    for name, (outside, inside) in PAIRS.items():
        good, bad = (_final(usual, arm) for arm in (inside, outside))
        yield Claim(
            f"{name}_inside_difference",
            f"A network whose inputs are {WHAT[name]} inside of the gradient step ends with the "
            "higher test accuracy.",
            "2, 3",
            q.difference(
                good,
                bad,
                f"Test accuracy at the last step, inside minus outside. {q.AT_CHANCE}",
            ),
            Above(),
            hangs_on="the rate",
        )
    for rate, at_rate in by_rate(runs).items():
        yield Claim(
            "scaled_outside_fails" if rate == USUAL else f"scaled_outside_fails_{rate:g}",
            "Where inputs are centred and scaled outside of the gradient step, the network blows "
            f"up, at rate {rate:g}.",
            "2",
            q.failures(
                _failed(at_rate, SCALED),
                "Share of the runs that end with a loss that is not finite, or whose accuracy at "
                "the last step is at most twice chance",
            ),
            Above(0.5),
            gates=[gates.trains(_failed(at_rate, SCALED_INSIDE), "BN at the same rate")],
            hangs_on="the rate",
        )


def by_rate(runs: Runs) -> dict[float, Runs]:
    """The runs at every rate."""
    rates = sorted({float(m.varied.get(RATE, USUAL)) for m in runs.members})
    return {
        rate: runs.where(block="norms")
        if rate == USUAL
        else runs.where(block="rates", **{RATE: rate})
        for rate in rates
    }


def _failed(runs: Runs, arm: Arm) -> list[bool]:
    return (_final(runs, arm) <= gates.ALIVE * runs.chance).tolist()


def _final(runs: Runs, arm: Arm) -> pd.Series:
    return arm.of(runs.final("test", diverged=runs.chance)).by_seed()


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_outside``: bias, loss and accuracy over training, and the accuracy by rate."""
    usual = runs.where(block="norms")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
        bias, by_rates, loss, accuracy = figure.subplots(2, 2).ravel()
        for arm in ARMS:
            of_arm = arm.of(usual)
            panels.curves(bias, biases(usual, arm), arm)
            panels.curves(loss, of_arm.curve(split="test", metric="loss"), arm)
            panels.curves(accuracy, of_arm.curve(split="test"), arm)
            ends = {rate: _final(part, arm) for rate, part in by_rate(runs).items()}
            shown = pd.DataFrame({rate: end for rate, end in ends.items() if len(end)})
            panels.along(by_rates, list(shown.columns), shown.to_numpy(float).T, arm)
        bias.set_ylabel("norm of the biases")
        loss.set(ylabel="test loss", yscale="log")
        by_rates.set(xscale="log", xlabel="learning rate")
        by_rates.xaxis.set_major_formatter("{x:g}")
        style.error_axis(accuracy, 0.0, 0.97)
        style.error_axis(by_rates, -0.5, 0.98)
        panels.reference(by_rates, runs.chance, "chance")
        for ax, title in (
            (bias, "rate 0.1"),
            (by_rates, "every rate, at the end"),
            (loss, ""),
            (accuracy, ""),
        ):
            ax.set_title(title)
            if ax is not by_rates:
                style.steps_axis(ax)
        style.letters([bias, by_rates, loss, accuracy])
        figure.legend(*accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return {"figure_outside": figure}


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    rows, usual = [], runs.where(block="norms")
    for arm in ARMS:
        found, final = biases(usual, arm), _final(usual, arm)
        if found.size and len(final):
            loss = q.at_the_end(arm.of(usual).curve(split="test", metric="loss"))
            ends, half_way = at_ends(found)
            bias = [f"{half_way.median():.3g}", f"{ends.median():.3g}"]
            rows.append([arm.label, *bias, f"{loss.median():.3g}", final])
    rates = by_rate(runs)
    table = [["normalization", *(f"rate {rate:g}" for rate in rates)]]
    table += [[arm.label, *(_ends(_final(part, arm)) for part in rates.values())] for arm in ARMS]
    return {"rows": rows, "rates": table if len(rates) > 1 else []}


def _ends(final: pd.Series) -> str:
    return percent(final) if len(final) else "-"


def keep(runs: Runs) -> Runs:
    """The probes alone, without the traces."""
    return replace(runs, traces=runs.traces.iloc[:0])


STUDY = Study("outside_gradient.md.j2", figures, claims, ARMS, values, traces=True, keep=keep)
