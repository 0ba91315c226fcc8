"""The bits of runs: read, kept in a study's folder byte for byte, merged, and asked by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import correct, report, results
from bn_repro.analysis.load import load
from bn_repro.analysis.tables import BadInput, Member
from bn_repro.records import paths

IMAGES = 13  # bits do not fill their last byte


def give_bits(member: Member, last: list[int], best: list[int], unseen: int | None = None) -> None:
    """``correct.npz`` as training writes it: which images are right."""
    seen = np.ones(IMAGES, np.uint8)
    if unseen is not None:
        seen[unseen] = 0
    arrays = {"images": np.array(IMAGES)}
    for which, right, step in (("last", last, 2_000), ("best", best, 1_000)):
        bits = np.isin(np.arange(IMAGES), right).astype(np.uint8)
        arrays |= {which: np.packbits(bits), f"{which}_seen": np.packbits(seen)}
        arrays |= {f"{which}_step": np.array(step)}
    assert member.directory is not None
    np.savez(member.directory / paths.CORRECT, **arrays)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def members(make_run) -> list[Member]:
    found = [
        make_run(arm, seed, steps=2_000, traces=False)
        for arm in ("mnist/baseline", "mnist/bn")
        for seed in (1, 0)
    ]
    for place, member in enumerate(found[:3]):
        give_bits(member, [place, 12], [3])
    return found


def test_bits_are_asked_by_seed_and_image(members: list[Member]) -> None:
    give_bits(members[0], [0, 12], [3], unseen=5)
    runs = load(members)
    assert len(runs.correct) == 3  # an earlier version wrote none
    right = runs.where(experiment="mnist/baseline").right()
    assert right.index.tolist() == [0, 1]
    assert right.shape == (2, IMAGES)
    assert np.flatnonzero(right.loc[1] == 1).tolist() == [0, 12]
    assert np.isnan(right.loc[1, 5])
    assert np.flatnonzero(runs.where(experiment="mnist/bn").right("best").loc[1]).tolist() == [3]
    with pytest.raises(BadInput, match="two runs with seed 1"):
        runs.right()


def test_a_file_holds_what_was_written_and_its_bytes_stay(
    members: list[Member], tmp_path: Path
) -> None:
    rows, path = load(members).correct, tmp_path / "correct.npz"
    correct.write(path, rows)
    before = path.read_bytes()
    pd.testing.assert_frame_equal(correct.read(path), rows, check_dtype=False)
    correct.write(path, correct.read(path))
    assert path.read_bytes() == before
    path.unlink()
    correct.write(path, rows)
    assert path.read_bytes() == before
    path.write_bytes(before[:-200])
    with pytest.raises(BadInput, match="restore it from git"):
        correct.read(path)
    correct.write(path, rows.iloc[:0])
    assert not path.exists()


def test_a_report_keeps_bits_and_new_runs_replace_them(
    members: list[Member], tmp_path: Path, drawn_once: None
) -> None:
    out = tmp_path / "out"
    report.write("fig1", members, out)
    give_bits(members[1], [7], [7])
    report.write("fig1", members[1:2] + [Member(*m.key) for m in members if m != members[1]], out)
    kept = results.read(out).where(experiment="mnist/baseline").right()
    assert [np.flatnonzero(kept.loc[seed]).tolist() for seed in (0, 1)] == [[7], [0, 12]]


def test_what_cannot_be_read_is_said_and_the_rest_loads(members: list[Member]) -> None:
    assert members[0].directory is not None
    (members[0].directory / paths.CORRECT).write_bytes(b"no archive")
    runs = load(members)
    assert len(runs.correct) == 2
    assert len(runs.runs) == 4
    assert "which images are right is unknown" in runs.warnings[0]
