"""The run ids of every committed row, stored: a new key or a new default must rename no run."""

import csv
from pathlib import Path

from support import ROOT

from bn_repro.config.compose import compose
from bn_repro.config.identity import run_id

STORED = Path(__file__).with_name("run_ids.txt")
"""A line per configuration: its id, then the overrides that make it."""


def stored():
    for line in STORED.read_text().splitlines():
        id, *overrides = line.split(" ")
        yield id, overrides


def test_each_stored_configuration_has_its_stored_id():
    wrong = {i: words for i, words in stored() if run_id(compose(words)) != i}
    assert not wrong


def test_each_committed_row_is_stored():
    known = {(id, words[0].removeprefix("experiment=")) for id, words in stored()}
    for table in (ROOT / "results").glob("*/runs.csv"):
        with open(table, newline="") as file:
            rows = {(row["id"], row["experiment"]) for row in csv.DictReader(file)}
        assert rows <= known, table
