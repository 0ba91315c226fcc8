"""The seven changes after convergence: as ``ablation_421``, where both bases have converged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import (
    ablation_421,
    ablation_converged,
    ablation_digits,
    ablation_photographs,
)
from bn_repro.analysis.studies.ablation_421 import BASES, CHANGES
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5
from bn_repro.analysis.tables import CORRECT_COLUMNS, CURVE_COLUMNS, RUN_COLUMNS, Member, Runs
from bn_repro.config.compose import compose

TOPS = {BN_X5.label: 0.45, BN_BASELINE.label: 0.35}
RATE = CHANGES[0]


def made_up(longer: dict[str, float], seeds: int = 6) -> Runs:
    """The first change is worth 6 points in both directions, the others nothing.

    ``longer``: what twice the length adds, by base; without a base it has no longer runs.
    """
    rows, members = [], []
    for base in BASES:
        sign = 1 if base is BN_BASELINE else -1
        finals = {ablation_421.block_of(None, base): TOPS[base.label]}
        for change in CHANGES:
            worth = sign * (0.06 if change is RATE else 0.0)
            finals[ablation_421.block_of(change, base)] = TOPS[base.label] + worth
        if base.label in longer:
            finals["rest"] = TOPS[base.label] + longer[base.label]
        for number, (block, top) in enumerate(finals.items()):
            for seed in range(seeds):
                key = (base.keys["experiment"], f"{number:08d}", seed)
                wobble = 0.001 * ((seed + number) % 3 - 1)
                row = [*key, "completed", 6_000, top + wobble, top + wobble, 6_000, 60.0]
                row += ["", "cuda", "eager", "", 20, block]
                rows.append(dict(zip(RUN_COLUMNS, row, strict=True)))
                members.append(Member(*key, {"some.key": 1} if " " in block else {}, blocks=block))
    curves, traces = (pd.DataFrame(columns=c) for c in (CURVE_COLUMNS, [*CURVE_COLUMNS, "unit"]))
    return Runs("ablation_photographs", members, pd.DataFrame(rows), curves, traces)


def answered(runs: Runs, images: int = 1000) -> Runs:
    """The same with answers: as many right as a run's accuracy says, each network its own ones."""
    rows, seen = [], np.packbits(np.ones(images, bool))
    for run in runs.runs.to_dict("records"):
        right = np.arange(images) < round(images * run["final_top1"])
        bits = np.packbits(np.roll(right, 10 * int(run["id"])))
        row = [run["experiment"], run["id"], run["seed"], images, run["step"], run["step"]]
        rows.append(dict(zip(CORRECT_COLUMNS, [*row, bits, seen, bits, seen], strict=True)))
    return replace(runs, correct=pd.DataFrame(rows))


def _claims(runs: Runs) -> dict[str, Claim]:
    return {claim.id: claim for claim in ablation_converged.claims(runs)}


@pytest.mark.parametrize(
    ("study", "longer"),
    [("ablation_digits", "digits_long"), ("ablation_photographs", "photographs_plain_long")],
)
def test_a_study_has_the_blocks_that_the_changes_name_and_one_for_rest(
    study: str, longer: str
) -> None:
    named = {block["name"]: block for block in compose([f"study={study}"]).study.blocks}
    made = [change for change in CHANGES if change.block != "distortions"]
    asked = {ablation_421.block_of(change, base) for change in (None, *made) for base in BASES}
    assert set(named) == {*asked, "rest"}
    assert set(named["rest"]["experiment"]) == {base.keys["experiment"] for base in BASES}
    assert named["rest"]["scale"] == [longer]


def test_after_convergence_a_change_is_judged_as_in_the_other_study() -> None:
    runs = made_up({base.label: 0.001 for base in BASES})
    found = _claims(runs)
    assert found["all_seven_difference"].verdict == "holds"
    assert found["higher_learning_rate_difference"].verdict == "holds"
    assert found["no_dropout_difference"].verdict == "undecided"
    assert found.pop("weaker_distortions_difference").reason == "images are not distorted here"
    others = {claim.id: claim.verdict for claim in ablation_421.claims(runs)}
    assert {id: claim.verdict for id, claim in found.items()}.items() <= others.items()


def test_where_answers_are_known_intervals_count_images_too() -> None:
    runs = made_up({base.label: 0.001 for base in BASES})
    of_seeds, of_both = _claims(runs), _claims(answered(runs))
    for id, claim in of_both.items():
        if id == "weaker_distortions_difference":
            continue
        alone, both = of_seeds[id].quantity.interval, claim.quantity.interval
        assert both.estimate == pytest.approx(alone.estimate)
        assert both.high - both.low > alone.high - alone.low
        assert "over seeds and over images" in claim.computed


def test_images_are_counted_in_all_directions_or_in_none() -> None:
    """A diverged run has no answers to compare; so the changes of its base count seeds alone."""
    runs = answered(made_up({base.label: 0.001 for base in BASES}))
    frame = runs.runs.copy()
    lost = (frame["blocks"] == ablation_421.block_of(RATE, BN_BASELINE)) & (frame["seed"] == 3)
    frame.loc[lost, "state"] = "diverged"
    found = _claims(replace(runs, runs=frame))
    assert "over seeds and over images" in found["no_dropout_difference"].computed
    rate = found["higher_learning_rate_difference"]
    assert "over seeds and over images" not in rate.computed
    alone = _claims(replace(runs, runs=frame, correct=runs.correct.iloc[:0]))
    parts = alone["higher_learning_rate_difference"].quantity.parts
    assert rate.quantity.parts == parts


def test_a_change_that_may_lose_a_tenth_is_judged_by_images_too() -> None:
    runs = made_up({base.label: 0.001 for base in BASES})
    id = "no_local_response_normalization_difference"
    alone, both = _claims(runs)[id], _claims(answered(runs))[id]
    assert (alone.verdict, both.verdict) == ("holds", "holds")
    for wide, narrow in zip(both.quantity.parts, alone.quantity.parts, strict=True):
        assert wide.estimate == pytest.approx(narrow.estimate)
        assert wide.estimate > both.quantity.interval.estimate
        assert wide.high - wide.low > narrow.high - narrow.low
    assert both.by_chance == 0  # with no effect at all it would hold


def test_seeds_are_those_of_both_directions() -> None:
    runs = made_up({base.label: 0.001 for base in BASES})
    frame = runs.runs
    first = (frame["seed"] == 0) & (frame["blocks"] == ablation_421.block_of(RATE, BN_X5))
    last = (frame["seed"] == 5) & (frame["blocks"] == ablation_421.block_of(RATE, BN_BASELINE))
    rate = _claims(replace(runs, runs=frame[~first & ~last]))["higher_learning_rate_difference"]
    assert rate.n == 4
    assert {part.n for part in rate.quantity.parts} == {4}
    assert (rate.verdict, rate.reason.partition(";")[0]) == ("undecided", "fewer than 5 seeds")


def test_effects_are_known_where_chance_is_not() -> None:
    runs = made_up({base.label: 0.001 for base in BASES})
    unknown = replace(runs, runs=runs.runs.assign(classes=float("nan")))
    found = _claims(unknown)["higher_learning_rate_difference"].quantity
    assert found.interval.estimate == pytest.approx(0.06)


def test_a_page_names_the_changes_that_its_study_makes() -> None:
    prose = Prose("ablation_digits", ablation_digits.STUDY, _of_digits(), [])
    assert "with all six (BN-x5)" in prose["outcome"]
    assert "| none (worth: all six)" in prose["findings"]
    assert "| 6. more thorough shuffling" in prose["findings"]
    assert "weaker distortions" not in prose["findings"]
    assert "**Together** the six changes" in prose["findings"]


def _of_digits() -> Runs:
    """The made-up runs without the seventh change."""
    runs = made_up({base.label: 0.001 for base in BASES})
    kept = [member for member in runs.members if not member.blocks.startswith("distortions")]
    rows = runs.runs[~runs.runs["blocks"].str.startswith("distortions")]
    return replace(runs, members=kept, runs=rows)


@pytest.mark.parametrize("restless", [base.label for base in BASES])
def test_nothing_is_asked_where_a_base_has_not_converged(restless: str) -> None:
    longer = {base.label: 0.001 for base in BASES} | {restless: 0.02}
    found = _claims(made_up(longer))
    assert {claim.verdict for claim in found.values()} == {"not testable"}
    unknown = _claims(made_up({label: 0.001 for label in longer if label != restless}))
    for claims in (found, unknown):
        del claims["weaker_distortions_difference"]
    reason = f"{restless} has not converged: twice the length adds"
    assert all(claim.reason.startswith(reason) for claim in found.values())
    assert {claim.verdict for claim in unknown.values()} == {"undecided"}


def test_the_page_says_whether_the_bases_rest() -> None:
    for longer, words in (
        (
            {BN_X5.label: 0.001, BN_BASELINE.label: 0.001},
            "BN-Baseline has: twice the length adds +0.10 points",
        ),
        ({BN_X5.label: 0.001, BN_BASELINE.label: 0.02}, "BN-Baseline has not converged: twice"),
        ({BN_X5.label: 0.001}, "Of BN-Baseline not known yet."),
    ):
        runs = made_up(longer)
        findings = Prose("ablation_photographs", ablation_photographs.STUDY, runs, [])["findings"]
        assert words in findings
        assert "**Each change alone**" in findings
