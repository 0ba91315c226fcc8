"""BN in a recurrent network, judged from made-up runs and made-up gradients."""

from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis.reports import same_from_files
from support import as_lines

from bn_repro.analysis import report
from bn_repro.analysis.load import load
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import recurrent as study
from bn_repro.analysis.studies import recurrent_runs as its
from bn_repro.records import paths

STEPS, SEEDS, RATES = 2_000, 6, (0.03, 0.1, 0.3)
BEST = {its.NONE.label: 0.03, its.PER_STEP.label: 0.1, its.SHARED.label: 0.1}
TOPS = {its.NONE.label: 0.90, its.PER_STEP.label: 0.95, its.SHARED.label: 0.93}


def probed(step, seed, decay):
    """Gradients that shrink by the factor ``decay`` each step back."""
    for t in range(1, 29):
        relative = (1 + 0.01 * seed) * decay ** (28 - t)
        yield {
            "step": step,
            "probe": "state_gradients",
            "t": t,
            "gradient": 0.1 * relative,
            "relative": relative if t < 28 else 1.0,
        }


@pytest.fixture
def members(make_run):
    """Each arm at three rates of two seeds, and at its best one of six."""

    def made(tops=TOPS, decays=(0.9, 0.97), seeds=SEEDS, row_tops=(0.8, 0.9)):
        found = []
        for k, arm in enumerate(its.ARMS):
            keys = dict(arm.keys)
            how = {"steps": STEPS, "eval_every": 50, "traces": False, "pace": 900 - 300 * (k > 0)}
            experiment, best = keys.pop("experiment"), BEST[arm.label]
            suffix = "" if k else " without BN"
            for rate in RATES:
                how["varied"] = keys | {its.RATE: rate}
                top = tops[arm.label] - 0.1 * abs(log(rate / best))
                tried = {"blocks": f"rates{suffix}", "split": "val", "id": f"{k}{rate:g}t"}
                found += [make_run(experiment, s, top=top, **how, **tried) for s in (0, 1)]
            how["varied"] = keys | {its.RATE: best}
            for seed in range(10, 10 + seeds):
                one = make_run(
                    experiment,
                    seed,
                    top=tops[arm.label],
                    **how,
                    blocks=f"final{suffix}",
                    id=f"{k}f",
                )
                rows = [r for step in (1, STEPS) for r in probed(step, seed, decays[k > 0])]
                (one.directory / paths.PROBES).write_text(as_lines(rows))
                found.append(one)
            if arm is not its.SHARED:
                how |= {"blocks": its.ROWS, "varied": {its.RATE: 0.1, "model.order": "rows"}}
                how |= {"top": row_tops[k], "id": f"{k}rows"}
                found += [make_run(experiment, s, **how) for s in range(10, 10 + seeds)]
        return found

    return made


def test_numbers_by_arm_seed_and_row(members):
    runs = load(members())
    assert [its.rate(runs, arm) for arm in its.ARMS] == [0.03, 0.1, 0.1]
    grids = [its.grid(runs, arm) for arm in its.ARMS]
    assert [grid.axes[0][grid.best[0]] for grid in grids if grid] == [0.03, 0.1, 0.1]
    wide = its.gradients(runs, its.NONE, "end")
    assert list(wide) == list(range(1, 29))
    assert wide.loc[10, 14] == pytest.approx(1.1 * 0.9**14)
    even = its.distance(wide)  # over t = 1 to 27, so 27 to 1 steps back
    assert even.loc[10] == pytest.approx(-log(0.9) * 14 - log(1.1), rel=1e-2)


def test_how_even_gradients_are_counts_what_grows_like_what_shrinks():
    rows = pd.DataFrame([[4.0, 1.0, 1.0], [0.25, 1.0, 1.0]], columns=[1, 2, 3])
    assert its.distance(rows).tolist() == pytest.approx([log(4) / 2] * 2)


def test_verdicts(members):
    claims = {c.id: c for c in study.claims(load(members()))}
    assert len(claims) == 8
    assert {c.verdict for c in claims.values()} == {"holds"}
    assert claims["start_reaches_ratio"].quantity.interval.estimate == pytest.approx(
        (0.97 / 0.9) ** 27
    )


def test_what_grows_reaches_the_first_row_and_is_not_even(members):
    tops = TOPS | {its.PER_STEP.label: 0.7}
    made = members(tops, decays=(0.99, 1.1), row_tops=(0.9, 0.6))
    found = {c.id: c.verdict for c in study.claims(load(made))}
    assert found["end_reaches_ratio"] == "holds"
    assert found["end_even_ratio"] == "does not hold"
    assert found["bn_over_none_difference"] == "does not hold"
    assert found["row_by_row_difference"] == "does not hold"
    assert found["per_step_over_shared_difference"] == "does not hold"


def test_few_seeds_and_no_probes_decide_nothing(members):
    made = members(seeds=3)
    assert {c.verdict for c in study.claims(load(made))} == {"undecided"}
    made = [m for m in made if m.blocks == "rates"]
    assert {c.verdict for c in study.claims(load(made))} == {"undecided"}


def test_equal_losses_are_said_to_be_the_same_training(members):
    made = members()
    assert not its.same_training(load(made))
    final = [m for m in made if m.blocks == "final"]
    own = {m.seed: m for m in final if m.id == "1f"}
    for member in final:
        text = (own[member.seed].directory / paths.METRICS).read_text()
        (member.directory / paths.METRICS).write_text(text)
    assert its.same_training(load(made))


@pytest.mark.usefixtures("drawn_once")
def test_the_report_from_its_files_alone_is_the_same(members, tmp_path: Path):
    out, made = tmp_path / "out", members()
    found = report.write("recurrent", made, out)
    assert found.warnings == []
    text = (out / "README.md").read_text()
    assert "| BN, statistics per step | 0.1 | 0.03: " in text
    assert "| At the end, without BN | 0.0654 |" in text
    same_from_files("recurrent", made, out)


def test_without_the_reference_there_are_no_steps_to_its_target(members):
    runs = load([m for m in members() if m.blocks != "final without BN"])
    assert not its.curve(runs, its.NONE).size
    findings = Prose("recurrent", study.STUDY, runs, list(study.claims(runs)))["findings"]
    assert "steps to the target" in findings
    assert "nan" not in findings


def test_without_runs_the_prose_is_empty_of_numbers(members):
    runs = load(members(seeds=0)[:1])
    prose = Prose("recurrent", study.STUDY, runs, list(study.claims(runs)))
    assert prose["outcome"] == ""
    assert "nan" not in prose["findings"]
    assert np.isnan(its.rate(runs, its.NONE))
