"""From run directories to frames, intervals, claims and figures. Reads files only; no torch.

For a notebook::

    runs = analysis.runs("runs")                  # all runs of a directory, as frames
    runs = analysis.study("fig1")                 # the committed runs of a study
    wide = style.BN.of(runs).curve(split="test")  # a row a seed, a column a step
    analysis.steps_to.by_row(wide, 0.95)          # the first step at 95 %, NaN where never
    analysis.interval(wide[50_000])               # a mean with its 95 % interval over seeds
    with style.context():
        panels.curves(ax, wide, style.BN)         # what draws takes axes and returns them

``style``, ``panels`` and ``densities`` are imported by themselves: the rest needs no matplotlib.
"""

from bn_repro.analysis import (
    claims,
    frames,
    intervals,
    quantities,
    results,
    rules,
    steps_to,
    tables,
)
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.frames import select, shared
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import Interval, bootstrap, difference, interval, ratio
from bn_repro.analysis.library import runs, study
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.results import with_steps_to
from bn_repro.analysis.speed import Race
from bn_repro.analysis.tables import BadInput, Member, Runs, Values, finished

__all__ = [
    "BadInput",
    "Claim",
    "Gate",
    "Interval",
    "Member",
    "Quantity",
    "Race",
    "Runs",
    "Values",
    "bootstrap",
    "claims",
    "difference",
    "finished",
    "frames",
    "interval",
    "intervals",
    "quantities",
    "ratio",
    "results",
    "rules",
    "runs",
    "select",
    "shared",
    "steps_to",
    "study",
    "tables",
    "with_steps_to",
]
