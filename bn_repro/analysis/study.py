"""The type of a study: its claims and figures; its words are a template (:mod:`prose`)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from bn_repro.analysis.claims import Claim
from bn_repro.analysis.tables import Member, Runs

if TYPE_CHECKING:  # matplotlib, which to read a study's rows needs not
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Extra:
    """A table that a study keeps besides, as ``file``; a row's key is experiment, id, seed.

    ``rows(members, committed)`` makes it, from run directories where there are any and else from
    the ``committed`` rows. ``commands`` are those between training and report that make its source.
    """

    file: str
    rows: Callable[[Sequence[Member], pd.DataFrame], pd.DataFrame]
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Study:
    """What a study asks of its runs.

    ``values``: what the template shows besides the claims, by name. ``targets``: the accuracies to
    which ``runs.csv`` counts the steps, or a function of the runs. ``traces``: whether traces and
    probes are stored; ``keep`` selects their rows (all by default). ``histograms``: the seeds whose
    histograms are stored.

    All functions see only what the files hold, rounded as it is there. So a report written from
    the files alone equals, byte for byte, the one written beside the runs.
    """

    prose: str
    figures: Callable[[Runs], Mapping[str, Figure]]
    claims: Callable[[Runs], Iterable[Claim]] = lambda runs: ()
    values: Callable[[Runs], Mapping[str, Any]] = lambda runs: {}
    targets: Sequence[float] | Callable[[Runs], Sequence[float]] = ()
    traces: bool = False
    histograms: Sequence[int] = ()
    keep: Callable[[Runs], Runs] | None = None
    extra: Extra | None = None

    def targets_of(self, runs: Runs) -> Sequence[float]:
        """The accuracies to count steps to."""
        return self.targets(runs) if callable(self.targets) else self.targets


def probes_alone(runs: Runs) -> Runs:
    """A study's ``keep``: the probes, without the traces."""
    return replace(runs, traces=runs.traces.iloc[:0])


def study_of(name: str) -> Study:
    """The study ``name``; one without a module of its own is ``default``'s."""
    package = f"{__package__}.studies"
    own = f"{package}.{name}"
    found = importlib.import_module(own) if name and importlib.util.find_spec(own) else None
    # What studies share lies there too: one's own study may bear the name of such a module.
    return getattr(found, "STUDY", None) or importlib.import_module(f"{package}.default").STUDY
