"""What tests of studies share: reports from files alone, and runs at smoke scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bn_repro.analysis import report
from bn_repro.analysis.tables import Member
from bn_repro.config.schema import StudyConfig
from bn_repro.sweep.planned import accuracy_of
from bn_repro.sweep.study import expand
from bn_repro.training.run import run


def same_from_files(name: str, members: Sequence[Member], out: Path) -> set[str]:
    """Require that a report, written again from its files alone, is the same; the files' names."""
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    report.write(name, [replace(member, directory=None) for member in members], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    return set(before)


def trained(
    study: StudyConfig, overrides: Sequence[str], *, may_diverge: bool = False
) -> list[Member]:
    """The runs of a study, trained block after block, as what they choose becomes known."""
    planned, whole = [], False
    while not whole:
        planned, whole = expand(study, overrides, accuracy_of)
        states = {run(p.config, log=lambda line: None).state for p in planned}
        assert states <= {"completed", *["diverged"] * may_diverge}
    return [Member(*p.key, p.varied, p.directory, "+".join(p.blocks)) for p in planned]
