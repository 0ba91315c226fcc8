"""The studies of the paper's other assertions, each run at smoke scale and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bn_repro.analysis import report
from bn_repro.analysis.tables import Member
from bn_repro.config.compose import compose
from bn_repro.sweep.study import accuracy_of, expand
from bn_repro.training.run import run

STUDIES = ("weight_scale", "outside_gradient", "regularization", "covariate_shift", "placement")
STUDIES += ("domain_adaptation", "domain_adaptation_photographs", "recurrent")
"""The others have a test of their own that also looks at what they report."""


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_reports_at_smoke_scale(name: str, tmp_path: Path) -> None:
    words = ["scale=smoke", "train.population_batches=2", "study.seeds=1"]
    words.append(f"runs={tmp_path / 'runs'}")
    study, whole, planned = compose([f"study={name}", *words]).study, False, []
    short = {"train.steps": [2], "train.trace_every": [1]}
    study = replace(study, blocks=[block | short for block in study.blocks])
    while not whole:
        planned, whole = expand(study, words, accuracy_of)
        states = {run(p.config, log=lambda line: None).state for p in planned}
        assert states <= {"completed", "diverged"}
    members = [Member(*p.key, p.varied, p.directory, "+".join(p.blocks)) for p in planned]
    found = report.write(name, members, tmp_path / "out")
    assert found.warnings == []
    assert found.finished
    assert {claim.verdict for claim in found.claims} <= {"undecided", "not testable"}  # one seed
