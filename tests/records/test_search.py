"""One search finds the runs under a folder."""

import pytest

from bn_repro.records.errors import BadInput
from bn_repro.records.search import FoundRun, find_runs


def test_runs_are_found_at_any_depth_and_those_moved_aside_are_not(tmp_path):
    names = ["mnist/bn-1e234567/seed3", "mnist/bn-1e234567/seed0", "alone-00/seed11"]
    for name in [*names, "mnist/bn-00/seed0.20260101-120000", "seed1", "mnist/none/seed1"]:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mnist/bn-1e234567/seed0.lock").touch()
    (tmp_path / "mnist/bn-1e234567/seed7").touch()
    for copy in ("seed00", "seed03"):
        (tmp_path / "mnist/bn-1e234567" / copy).mkdir()
    warnings = []
    assert find_runs(tmp_path, warnings) == [
        FoundRun("alone", "00", 11, tmp_path / names[2]),
        FoundRun("mnist/bn", "1e234567", 0, tmp_path / names[1]),
        FoundRun("mnist/bn", "1e234567", 3, tmp_path / names[0]),
    ]
    folder = tmp_path / "mnist/bn-1e234567"
    assert [line.split(":")[0] for line in warnings] == [
        f"{folder / 'seed00'}",
        f"{folder / 'seed03'}",
    ]


def test_none_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(BadInput, match=f"^runs: no run directory under {tmp_path}; .*runs=...$"):
        find_runs(tmp_path)
