"""One reader: what a kill leaves behind is read, what is damaged is one line with its fix."""

import json
import math

import pytest
from support import as_lines

from bn_repro.records import paths, reader
from bn_repro.records.accuracy import best_accuracy, final_accuracy, monitored_curve, steps_to
from bn_repro.records.errors import Unreadable
from bn_repro.records.json_files import read_rows, read_tail
from bn_repro.records.reader import Outcome


def row(step, top1, split="test", statistics="moving"):
    return {"step": step, "split": split, "statistics": statistics, "top1": top1}


def lay(directory, rows=(), **status):
    (directory / paths.METRICS).write_text(as_lines(rows))
    if status:
        (directory / paths.STATUS).write_text(json.dumps(status))


def test_a_torn_last_line_is_dropped_and_warned_of(tmp_path):
    lay(tmp_path, [row(1, 0.5)])
    path = tmp_path / paths.METRICS
    path.write_text(path.read_text() + '{"step": 2, "spl')
    warnings = []
    assert read_rows(path, warnings) == read_rows(path) == [row(1, 0.5)]
    assert len(warnings) == 1
    assert str(path) in warnings[0]


@pytest.mark.parametrize("text", ['{"step": 1}\n{"st\n{"step": 2}\n', "7\n", '{"split": "val"}\n'])
def test_a_record_damaged_elsewhere_is_one_line_with_path_and_fix(tmp_path, text):
    path = tmp_path / paths.EVALUATION
    path.write_text(text)
    with pytest.raises(Unreadable, match="; remove it and evaluate again$") as error:
        reader.read_evaluations(tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        *(f'{{"step": 1}}{c}{{"step": 2}}\n{{"step": 3}}\n' for c in ",\x0b\x0c\x1c\r\x85\u2028"),
        *(f'{{"step": 1, "to{c}p1": 0.5}}\n{{"step": 2}}\n' for c in "\x0b\r\n"),
        '{"step": 1\n"split": "val"}\n{"step": 2}\n',
    ],
)
def test_each_line_is_a_row_and_a_line_feed_alone_ends_it(tmp_path, text):
    path = tmp_path / paths.METRICS
    path.write_bytes(text.encode())
    with pytest.raises(Unreadable, match="line 1 is not JSON; start over"):
        read_rows(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_status_is_one_line_and_an_unfinished_run(tmp_path, text):
    lay(tmp_path, [row(9, 0.75)])
    (tmp_path / paths.STATUS).write_text(text)
    with pytest.raises(Unreadable, match=r"status.json: .*; it is written anew when the run is"):
        reader.read_status(tmp_path)
    last = reader.last_status(tmp_path)
    assert (last.state, last.step) == ("unreadable", 0)
    assert "status.json" in (last.error or "")
    assert reader.finished(tmp_path) is None


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (paths.STATUS, '{"state": "running", "step": null}'),
        (paths.STATUS, '{"state": ["completed"], "step": 9}'),
        (paths.STATUS, '{"state": "completed", "step": true}'),
        (paths.STATUS, '{"state": "completed", "step": "9"}'),
        (paths.STATUS, '{"state": "completed", "step": 9, "seconds": {}}'),
        (paths.STATUS, DEEP),
        (paths.MANIFEST, '{"data": 5}'),
        (paths.MANIFEST, '{"started": []}'),
        (paths.MANIFEST, '{"quarantined": 1}'),
        (paths.MANIFEST, '{"quarantined": {"files": [1]}}'),
        (paths.MANIFEST, '{"resumed": {}}'),
        (paths.METRICS, "5\n"),
        (paths.METRICS, '{"step": true}\n'),
        (paths.METRICS, '{"step": -1}\n'),
        (paths.METRICS, '{"step": 1e400}\n'),
        (paths.METRICS, '{"step": 9, "split": ["val"]}\n'),
        (paths.METRICS, '{"step": 9, "statistics": null}\n'),
        (paths.METRICS, f"{DEEP}\n" + '{"step": 9}\n'),
        (paths.METRICS, '{"step": 9, "to\udcff1": 1}\n{"step": 10}\n'),
        (paths.TRACES, '{"step": 9, "site": 3}\n'),
        (paths.EVALUATION, '{"step": 9}\n'),
        (paths.EVALUATION, '{"step": 9, "crops": 1, "statistics": 2, "loss": 1, "top1": 1}\n'),
        (paths.CONFIG, "{seed: [0]}"),
        (paths.CONFIG, "{data: 5}"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_where_it_is_read(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    read = {
        paths.STATUS: reader.read_status,
        paths.MANIFEST: reader.read_manifest,
        paths.EVALUATION: reader.read_evaluations,
        paths.CONFIG: reader.read_config,
    }
    with pytest.raises(Unreadable, match=f"^{tmp_path / name}: ") as error:
        read.get(name, lambda folder: read_rows(folder / name))(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_nothing_is_there_before_a_run_begins(tmp_path):
    missing = tmp_path / "seed0"
    assert read_rows(missing / paths.METRICS) == read_tail(missing / "x") == []
    assert reader.read_status(missing) == reader.read_manifest(missing) == {}
    assert reader.finished(missing) is None
    assert reader.last_status(missing) == Outcome("preempted", 0, 0.0)


def test_a_tail_has_the_last_rows_and_no_torn_one(tmp_path):
    lay(tmp_path, [row(step, 0.5) for step in range(500)])
    path = tmp_path / paths.METRICS
    with open(path, "a") as file:
        file.write('{"step": 999')
    found = [r["step"] for r in read_tail(path, 1_000)]
    assert found == list(range(500 - len(found), 500))
    assert 5 < len(found) < 20


def test_accuracies_are_of_the_monitored_split_by_moving_averages():
    rows = [row(1, 0.9), row(1, 0.3, "val"), row(2, 0.6, "val"), row(3, 0.5, "val")]
    rows += [row(3, 0.99, "val", "population"), row(3, 0.98, "train", "batch"), row(4, None, "val")]
    curve = monitored_curve(rows)
    assert curve[:3] == [(1, 0.3), (2, 0.6), (3, 0.5)]
    assert math.isnan(final_accuracy(curve))
    assert final_accuracy(curve[:3]) == 0.5
    assert best_accuracy(curve) == (2, 0.6)
    assert [steps_to(curve, target) for target in (0.3, 0.31, 0.6)] == [1, 2, 2]
    assert math.isnan(steps_to(curve, 0.61))
    assert monitored_curve(rows[:1]) == [(1, 0.9)]
    assert math.isnan(final_accuracy([]))
    assert all(map(math.isnan, best_accuracy([])))


def test_a_finished_run_has_its_outcome_from_its_records(tmp_path):
    lay(tmp_path, [row(9, 0.75)], state="completed", step=9, seconds=1.5, error=None)
    assert reader.finished(tmp_path) == Outcome("completed", 9, 1.5, 0.75)
    lay(tmp_path, [row(3, None)], state="diverged", step=3, seconds=1.5, cause="divergence")
    assert reader.finished(tmp_path) == Outcome("diverged", 3, 1.5, cause="divergence")
    lay(tmp_path, [row(5, 0.75)], state="completed", step=9, seconds=1.5)
    assert reader.finished(tmp_path) is None  # its last rows are gone
    lay(tmp_path, [], state="failed", step=3, seconds=1.5, cause="disk", error="full")
    assert reader.finished(tmp_path) is None
    assert reader.last_status(tmp_path) == Outcome("failed", 3, 1.5, error="full", cause="disk")
