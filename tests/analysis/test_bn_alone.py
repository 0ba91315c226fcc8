"""BN alone: the settings are the study's, each prediction shown to hold and not to hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import intervals, report
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.studies import bn_alone, bn_alone_figures, bn_alone_report, bn_alone_weights
from bn_repro.analysis.studies.bn_alone_runs import SETTINGS, WEIGHTS, Setting, at, cell
from bn_repro.analysis.tables import CURVE_COLUMNS, KEY, RUN_COLUMNS, Member, Runs
from bn_repro.config.compose import compose
from bn_repro.sweep.study import expand

KEYS = ("optimizer.lr", "model.modules", "optimizer.delay")
STEPS = [*range(5, 100, 5), *range(100, 1_801, 50)]
INCEPTION, BN = "imagenet/inception", "imagenet/bn_baseline"
Made = dict[tuple[Setting, str], tuple[float, float]]
"""Of a network at a setting: the accuracy that it rises to, and the step at which it is there."""


def _many(settings: Iterable[Setting], network: str, made: tuple[float, float]) -> Made:
    return {(setting, network): made for setting in settings}


USUAL: Made = {
    **_many(SETTINGS, INCEPTION, (0.95, 1_000)),
    **_many(SETTINGS, BN, (0.97, 500)),
}
FAILS = (0.1, 500)
OWN_TEN, LOWEST_TEN = (Setting("He", "ten", rate) for rate in (0.02, 0.005))
XAVIER, HE = (Setting(block, "four", 0.02) for block in ("Xavier", "He"))
SMALL, LATE = Setting("Xavier", "ten", 0.005), Setting("asynchrony", "four", 0.1, 50)
CAFFE = [s for depth in ("four", "ten") for s in at("Caffe", depth)]
PREDICTED: Made = {
    **USUAL,
    (OWN_TEN, BN): (0.97, 700),
    (LOWEST_TEN, BN): (0.95, 1_500),
    (SMALL, INCEPTION): FAILS,
    (XAVIER, BN): (0.97, 250),
    **_many(at("Gaussian", "ten"), INCEPTION, FAILS),
    **_many(CAFFE, INCEPTION, (0.96, 900)),
    (LATE, INCEPTION): FAILS,
}
TURNED: Made = {
    **USUAL,
    (HE, BN): (0.95, 1_700),
    **_many(at("Xavier", "four") + at("Xavier", "ten"), BN, (0.85, 500)),
    **_many(CAFFE, INCEPTION, (0.9, 900)),
    **_many([Setting("asynchrony", "four", 0.02, 5)], INCEPTION, FAILS),
    **_many([Setting("asynchrony", "four", 0.02, 5)], BN, FAILS),
}


def planned() -> list[Member]:
    """The study's own runs, as a report has them."""
    runs, complete = expand(compose(["study=bn_alone"]).study, [], lambda *_: None)
    assert complete
    return [Member(*run.key, run.varied, None, "+".join(run.blocks)) for run in runs]


MEMBERS = planned()


@cache
def members_at(setting: Setting, network: str) -> list[Member]:
    """The planned runs of a network at a setting."""
    none = pd.DataFrame()
    runs = Runs("bn_alone", MEMBERS, none, none, none)
    return runs.planned(**(setting.inception if network == INCEPTION else setting.bn).keys)


def made_up(made: Made, seeds: Iterable[int] = range(5), blocks: Iterable[str] = ()) -> Runs:
    """Runs of ``blocks`` (all by default), with the study's own members."""
    wanted, known, rows, curves = set(seeds), set[tuple[str, str, int]](), [], []
    for (setting, network), (top, arrives) in made.items():
        for member in members_at(setting, network):
            kept = not blocks or set(member.blocks.split("+")) & set(blocks)
            if member.key in known or member.seed not in wanted or not kept:
                continue
            known.add(member.key)
            shift = member.seed % 3 - 1
            rise = np.minimum(1, np.array(STEPS) / (arrives * (1 + 0.01 * shift)))
            values = 0.1 + max(top + 0.001 * shift - 0.1, 0) * rise
            curves += [
                [*member.key, step, "test", "moving", "top1", value]
                for step, value in zip(STEPS, values.tolist(), strict=True)
            ]
            ends = [STEPS[-1], values[-1], values.max(), STEPS[int(values.argmax())]]
            row = [*member.key, "completed", *ends, 60.0, "c0ffee", "cpu", "eager", "0123", 10]
            varied = {key: member.varied.get(key) for key in KEYS}
            rows.append(dict(zip(RUN_COLUMNS, [*row, member.blocks], strict=True)) | varied)
    runs = pd.DataFrame(rows, columns=[*RUN_COLUMNS, *KEYS]).astype(dict.fromkeys(KEYS, object))
    none = pd.DataFrame(columns=["experiment", "id", "seed", "unit"])
    return Runs("bn_alone", MEMBERS, runs, pd.DataFrame(curves, columns=CURVE_COLUMNS), none)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for these verdicts, and fast."""
    monkeypatch.setattr(intervals, "bootstrap", partial(intervals.bootstrap, resamples=200))


def _claims(runs: Runs) -> dict[str, Claim]:
    return {claim.id: claim for claim in bn_alone.claims(runs)}


def _verdicts(runs: Runs) -> dict[str, str]:
    return {id: claim.verdict for id, claim in _claims(runs).items()}


def test_each_claim_holds_where_its_prediction_is_right() -> None:
    found = _verdicts(made_up(PREDICTED))
    assert len(found) == 11
    assert found.pop("late_5_own_rate_trained") == "undecided"  # five of five seeds
    assert set(found.values()) == {"holds"}, found


def test_none_holds_where_it_is_wrong() -> None:
    found = _verdicts(made_up(TURNED))
    assert found.pop("late_5_own_rate_trained") == "undecided"  # none of five
    assert set(found.values()) == {"does not hold"}, found


def test_a_rate_at_which_inception_fails_is_not_asked() -> None:
    high = Setting("He", "four", 0.08)
    runs = made_up({**PREDICTED, (high, INCEPTION): FAILS, (high, BN): (0.97, 1_500)})
    claim = _claims(runs)["he_four_modules_speed_up_ratio"]
    assert (claim.verdict, claim.reason) == ("holds", "ahead at all 2 rates; depends on the rate")


def test_what_is_not_in_is_not_measured_and_few_seeds_decide_nothing() -> None:
    found = _claims(made_up(PREDICTED, blocks=["He"]))
    measured = {id for id, claim in found.items() if claim.n}
    assert measured == {
        "he_four_modules_speed_up_ratio",
        "he_four_over_ten_modules_ratio",
        "he_ten_modules_lowest_rate_ratio",
    }
    others = [claim for id, claim in found.items() if id not in measured]
    assert {(c.verdict, c.reason.split(";")[0]) for c in others} == {("undecided", "not measured")}
    few = _claims(made_up(PREDICTED, seeds=range(4)))
    assert {claim.verdict for claim in few.values() if claim.quantity.of == "seeds"} == {
        "undecided"
    }


def test_an_outcome_for_each_setting() -> None:
    same = Setting("He", "ten", 0.08)
    made = {**PREDICTED, (same, BN): (0.95, 1_000)}
    runs = made_up(made, blocks=["He", "Xavier"])
    found = {s: cell(runs, s).outcome for s in (HE, LOWEST_TEN, same, SMALL, LATE)}
    assert list(found.values()) == [
        "BN alone is faster",
        "Inception is faster",
        "not decided",
        "Inception fails",
        "not run",
    ]
    told = bn_alone_report.values(runs)
    assert told["outcomes"]["Inception fails"] == told["only_bn"] == 1
    assert told["missing"][0] == "Caffe (0 of 30 runs)"
    assert (told["judged"], told["few"]) == (12, 0)
    fails = (
        "at least one run of Inception fails at rate 0.005 (there 5 of 5 runs of BN-Baseline train)"
    )
    assert told["along"][-1].startswith("Xavier, ten modules: BN alone is faster at rates 0.02 (")
    assert told["along"][-1].endswith(f"; {fails}")
    texts = [
        text.get_text()
        for ax in bn_alone_figures.figures(runs)["figure_map"].axes
        for text in ax.texts
    ]
    assert texts.count("BN trains") == 1
    assert texts.count("") == len(SETTINGS) - 2 * 6  # not run


def test_steps_are_the_gradient_over_the_weights_times_the_rate() -> None:
    """The gradient of BN is a tenth of the other's, and the weights of both double."""
    rows = [
        {**dict(zip(KEY, key, strict=True)), "probe": "weights", "site": site, "step": step}
        | {"norm": 2.0 * step, "gradient": 0.4 * (0.1 if key[0] == BN else 1.0)}
        for member in members_at(HE, INCEPTION) + members_at(HE, BN)
        for key in [member.key]
        for site in ("conv1", "4a.3x3")
        for step in (1, 2)
    ]
    runs = replace(made_up(PREDICTED), probes=pd.DataFrame(rows))
    (found,) = bn_alone_weights.steps_taken(runs)
    assert found["setting"] == "He, four modules, rate 0.02"
    assert found["ends"] == [pytest.approx([0.004, 0.002]), pytest.approx([0.0004, 0.0002])]
    grown = bn_alone_weights.over_layers(bn_alone_weights.rows_of(runs, HE.bn), "grown")
    assert grown.to_numpy().tolist() == [[1.0] * 3, [2.0] * 3]


@pytest.mark.usefixtures("drawn_once")
def test_the_page_reads_with_a_block_and_with_all(tmp_path: Path) -> None:
    for blocks in (["He"], [*WEIGHTS, "asynchrony"]):
        runs = made_up(PREDICTED, blocks=blocks)
        prose = report.Prose("bn_alone", bn_alone.STUDY, runs, list(_claims(runs).values()))
        text = " ".join(prose.all().values())
        assert ("**Not finished:** Xavier (0 of 60 runs)" in text) is (blocks == ["He"])
        assert "He, four modules: BN alone is faster at rates 0.005 (1.90 times), 0.02" in text
        assert bool(prose.left_out) is (blocks == ["He"])
