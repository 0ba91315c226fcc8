"""The seven changes after convergence: as ``ablation_421``, where both bases have converged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import Prose
from bn_repro.analysis.studies import ablation_421, ablation_converged, ablation_photographs
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
        ({BN_X5.label: 0.001, BN_BASELINE.label: 0.001}, "BN-Baseline has, by the condition"),
        ({BN_X5.label: 0.001, BN_BASELINE.label: 0.02}, "BN-Baseline has not converged: twice"),
        ({BN_X5.label: 0.001}, "Of BN-Baseline not known yet."),
    ):
        runs = made_up(longer)
        findings = Prose("ablation_photographs", ablation_photographs.STUDY, runs, [])["findings"]
        assert words in findings
        assert "**Each change alone**" in findings
