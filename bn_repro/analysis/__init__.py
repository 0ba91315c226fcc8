"""From run directories to frames, intervals, claims and figures. Reads files only; no torch.

    from bn_repro import analysis
    from bn_repro.analysis import style
    from bn_repro.analysis.studies import fig1

    data = analysis.runs("runs")             # all runs of a directory: data.runs, data.curves
    data = analysis.study("fig1")            # the committed runs of a study
    wide = analysis.curve(data, "mnist/bn")  # a row per seed, a column per step
    analysis.steps_to.by_row(wide, 0.95)     # the first step at 95 %, NaN where never
    analysis.interval(wide[50_000])          # a mean with its 95 % bootstrap interval
    with style.context():
        fig1.draw_accuracy(ax, data)         # what draws takes axes and returns them

What draws is imported by itself, as above: the rest does not need matplotlib.
"""

from bn_repro.analysis import claims, intervals, results, steps_to, tables
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval, bootstrap, difference, interval, ratio
from bn_repro.analysis.library import runs, study
from bn_repro.analysis.readme import claims_table
from bn_repro.analysis.results import with_steps_to
from bn_repro.analysis.tables import Member, StudyData, curve, finished, select, subset
from bn_repro.records.reader import BadInput

__all__ = [
    "BadInput",
    "Claim",
    "Interval",
    "Member",
    "StudyData",
    "bootstrap",
    "claims",
    "claims_table",
    "curve",
    "difference",
    "finished",
    "interval",
    "intervals",
    "ratio",
    "results",
    "runs",
    "select",
    "steps_to",
    "study",
    "subset",
    "tables",
    "with_steps_to",
]
