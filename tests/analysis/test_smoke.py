"""The studies of the paper's other assertions, each run at smoke scale and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analysis.reports import trained

from bn_repro.analysis import report
from bn_repro.config.compose import compose

STUDIES = ("weight_scale", "outside_gradient", "regularization", "covariate_shift", "placement")
STUDIES += ("domain_adaptation", "domain_adaptation_photographs", "recurrent")
"""The others have a test of their own that also looks at what they report."""


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_reports_at_smoke_scale(name: str, tmp_path: Path) -> None:
    words = ["scale=smoke", "train.population_batches=2", "study.seeds=1"]
    words.append(f"runs={tmp_path / 'runs'}")
    study = compose([f"study={name}", *words]).study
    short = {"train.steps": [2], "train.trace_every": [1]}
    study = replace(study, blocks=[block | short for block in study.blocks])
    members = trained(study, words, may_diverge=True)
    found = report.write(name, members, tmp_path / "out")
    assert found.warnings == []
    assert found.finished
    assert {claim.verdict for claim in found.claims} <= {"undecided", "not testable"}  # one seed
