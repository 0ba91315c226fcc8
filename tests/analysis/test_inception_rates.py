"""Which rate is the best, and up to which a network trains, of made-up accuracies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import inception_rates, rates_digits
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5, INCEPTION
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import CURVE_COLUMNS, RUN_COLUMNS, Member, Runs

# By rate the mean accuracy; None: of three seeds one diverges.
GRIDS: dict[str, tuple[Arm, dict[float, float | None]]] = {
    INCEPTION.label: (INCEPTION, {0.01: 0.90, 0.02: 0.95, 0.04: 0.94, 0.08: None, 0.16: 0.5}),
    BN_BASELINE.label: (BN_BASELINE, {0.01: 0.91, 0.02: 0.93, 0.04: 0.95, 0.08: 0.96, 0.16: 0.15}),
    BN_X5.label: (BN_X5, {0.02: 0.93, 0.04: 0.95, 0.08: 0.96, 0.16: 0.97, 0.32: 0.975}),
}


@pytest.fixture
def runs() -> Runs:
    rows, members = [], []
    for arm, by_rate in GRIDS.values():
        for number, (rate, top) in enumerate(by_rate.items()):
            for seed in range(3):
                key = (arm.keys["experiment"], f"0000000{number}", seed)
                died = top is None and seed == 1
                final = np.nan if died else (0.9 if top is None else top) + 0.001 * (seed - 1)
                best = 0.3 if died else final  # it had learned something before
                state = "diverged" if died else "completed"
                row = [*key, state, 1_800, final, best, 1_800, 60.0, "", "cpu", "eager", "", 10, ""]
                rows.append(dict(zip(RUN_COLUMNS, row, strict=True)) | {"optimizer.lr": rate})
                members.append(Member(*key, {"optimizer.lr": rate}))
    curves, traces = (pd.DataFrame(columns=c) for c in (CURVE_COLUMNS, [*CURVE_COLUMNS, "unit"]))
    return Runs("rates_digits", members, pd.DataFrame(rows), curves, traces)


def test_the_best_rate_has_the_highest_mean_and_a_diverged_run_is_chance(runs: Runs) -> None:
    found = {one.arm.label: one for one in inception_rates.tried(runs)}
    best = {label: one.rates[one.best] for label, one in found.items()}
    assert best == {INCEPTION.label: 0.02, BN_BASELINE.label: 0.08, BN_X5.label: 0.32}
    assert found[INCEPTION.label].grid.values[3].tolist() == pytest.approx([0.899, 0.1, 0.901])


def test_a_network_trains_up_to_the_first_rate_at_which_a_run_fails(runs: Runs) -> None:
    found = {one.arm.label: one for one in inception_rates.tried(runs)}
    inception, baseline, x5 = (found[arm.label] for arm in inception_rates.ARMS)
    failed = [[sum(at) for at in one.failed] for one in (inception, baseline)]
    assert failed[0] == [0, 0, 0, 1, 0]  # at 0.16 all train again, which is no range
    assert (inception.trains_to, baseline.trains_to, x5.trains_to) == (2, 3, 4)
    assert failed[1] == [0, 0, 0, 0, 3]  # 15 % is above chance, not above twice that
    none = inception._replace(failed=[[True], *inception.failed[1:]])
    assert none.trains_to is None


def test_of_a_search_half_done_failures_are_counted_among_the_runs_at_that_rate(runs: Runs) -> None:
    """Elsewhere the means are over the seeds that all rates have."""
    one = runs.runs[["optimizer.lr", "seed", "experiment"]]
    first = (one["seed"] == 0) | (one["optimizer.lr"] < 0.3)
    x5 = one["experiment"] == BN_X5.keys["experiment"]
    died = x5 & (one["optimizer.lr"] == 0.16)
    rows = runs.runs.assign(state=runs.runs["state"].mask(died, "diverged")).loc[first]
    some = Runs(runs.name, runs.members, rows, runs.curves, runs.traces)
    prose = Prose("rates_digits", rates_digits.STUDY, some, [])
    assert "at 0.16, 3 of 3 runs fail" in prose["findings"]


def test_the_page_says_both_and_what_is_built_in(runs: Runs) -> None:
    prose = Prose("rates_digits", rates_digits.STUDY, runs, [])
    findings = prose["findings"]
    assert (
        "**Inception**: its best rate is 0.02 (95.0 % (94.9, 95.0, 95.1)). Every run leaves chance "
        "up to 0.04, 2 times that; at 0.08, 1 of 3 runs fail."
    ) in findings
    assert (
        "the grid ends there, so a better one may lie beyond). Every run leaves chance up to 0.32"
        in findings
    )
    assert "| 0.08 | 63.3 % (89.9, 10.0, 90.1); 1 of 3 fail | 96.0 %" in findings
    assert "| 0.32 | - | - | 97.5" in findings
    assert "a worse rate by construction" in findings
    assert "Inception: best at 0.02 (95.0 %), every run leaves chance up to 0.04;" in " ".join(
        prose["outcome"].split()
    )


def test_the_figure_draws_what_there_is(runs: Runs) -> None:
    for some in (runs, runs.where(seed=0), BN_X5.of(runs), runs.where(seed=9)):
        for figure in rates_digits.STUDY.figures(some).values():
            figure.draw_without_rendering()
