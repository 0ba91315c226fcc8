"""The studies of the paper's other assertions, each run at smoke scale and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analysis.reports import same_from_files, trained

from bn_repro.analysis import report
from bn_repro.config.compose import compose
from bn_repro.training import statistics_probe

STUDIES = ("weight_scale", "outside_gradient", "regularization", "covariate_shift", "placement")
STUDIES += ("domain_adaptation", "domain_adaptation_photographs", "recurrent", "dropout", "norms")
STUDIES += ("inference_statistics", "learning_rate_and_init")
"""The others have a test of their own that also looks at what they report."""


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_reports_at_smoke_scale(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(statistics_probe, "COUNTS", (1, 3))
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
    same_from_files(name, members, tmp_path / "out")
