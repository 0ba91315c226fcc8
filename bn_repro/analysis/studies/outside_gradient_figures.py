"""The figure of ``outside_gradient``."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.outside_gradient_runs import ARMS, biases, by_rate, final
from bn_repro.analysis.tables import Runs


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
            ends = {rate: final(part, arm) for rate, part in by_rate(runs).items()}
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
