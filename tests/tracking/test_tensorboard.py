"""Event files, read back by TensorBoard's own reader: what the local records hold, once each."""

import json
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from support import call, history_of

from bn_repro.cli.publish import directories_to_send
from bn_repro.config.compose import compose
from bn_repro.config.identity import directory_of
from bn_repro.records import histograms, paths
from bn_repro.records.recorder import Recorder
from bn_repro.tracking import publish
from bn_repro.tracking.live import logger_of
from bn_repro.training.run import run

WORDS = ["experiment=mnist/bn", "scale=smoke", "train.steps=60", "train.eval_every=20"]
WORDS += ["train.checkpoint_every=20", "train.population_batches=2", "data.limit=500"]


def part(name) -> Any:
    """A module of the package, which types none of its messages."""
    return import_module(f"tensorboard.{name}")


def silent(line):
    pass


def events(directory):
    """The values of a run's one event file, as (step, value)."""
    (path,) = (directory / paths.EVENTS).glob("events.out.tfevents.*")
    found = part("backend.event_processing.event_file_loader").EventFileLoader(str(path)).Load()
    return [(event.step, value) for event in found for value in event.summary.value]


def series(directory):
    """The numbers and the counts by step, as ``series.History`` has them."""
    make_ndarray = part("util.tensor_util").make_ndarray
    found = {}
    for step, value in events(directory):
        kind = value.metadata.plugin_data.plugin_name
        if kind == "scalars":
            found.setdefault(step, {})[value.tag] = float(make_ndarray(value.tensor))
        elif kind == "histograms":
            counts = [0] * histograms.COUNTS
            for left, right, count in make_ndarray(value.tensor):
                assert right - left == histograms.WIDTH
                counts[round((left - histograms.edges()[0]) / histograms.WIDTH)] = int(count)
            found.setdefault(step, {})[value.tag] = counts
    return found


def assert_shows_the_records(directory):
    local, shown = dict(history_of(directory)), series(directory)
    assert shown.keys() == local.keys()
    for step, values in local.items():
        assert shown[step].keys() == values.keys()
        for tag, value in values.items():
            assert shown[step][tag] == pytest.approx(value, rel=1e-6), (step, tag)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was shown while it trained, and one that was not."""
    runs = tmp_path_factory.mktemp("runs")
    made = []
    for name, words in (("live", ["logger=tensorboard"]), ("later", [])):
        config = compose([*WORDS, f"runs={runs / name}", *words])
        assert run(config, log=silent).state == "completed"
        made.append(directory_of(config))
    return made


def test_event_files_hold_what_the_local_records_hold(trained):
    directory, other = trained
    assert_shows_the_records(directory)
    shown = series(directory)
    assert {"test/top1", "trace/hidden3/unit/p50", "train/learning_rate"} <= shown[60].keys()
    assert sum(shown[60]["histogram/hidden3"]) == 60 * 100
    for name in (paths.METRICS, paths.TRACES, paths.HISTOGRAMS):
        assert (directory / name).read_bytes() == (other / name).read_bytes()
    assert directory.name == other.name
    assert directory.parent.name == other.parent.name  # the logger is no part of the id


def test_settings_are_hyperparameters_and_the_configuration_is_a_text(trained):
    metadata, make_ndarray = part("plugins.hparams.metadata"), part("util.tensor_util").make_ndarray
    values = {value.tag: value for _, value in events(trained[0])}
    start = values[metadata.SESSION_START_INFO_TAG].metadata.plugin_data.content
    told = metadata.parse_session_start_info_plugin_data(start).hparams
    assert told["optimizer.lr"].number_value == 0.1
    assert told["model.norm"].string_value == "batch"
    assert told["train.trace_histograms"].bool_value is True
    assert told["model.hidden"].string_value == "[100, 100, 100]"
    end = values[metadata.SESSION_END_INFO_TAG].metadata.plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(end).status == 1  # a success
    (text,) = np.atleast_1d(make_ndarray(values["run"].tensor))
    assert '| `model.norm` | "batch" |' in text.decode()
    assert "| `manifest.commit` |" in text.decode()
    assert values["run"].metadata.plugin_data.plugin_name == "text"


def test_a_resumed_run_has_one_whole_file(tmp_path):
    directory = paths.run_directory(tmp_path, "mnist/bn", "0a1b2c3d", 0)
    directory.mkdir(parents=True)
    (directory / paths.CONFIG).write_text("{experiment: mnist/bn, seed: 0}")
    config = compose(["experiment=mnist/bn", "logger=tensorboard"])
    record = Recorder(directory, None, logger_of(config))
    write_steps(record, 1, 4)
    written = record.written()
    write_steps(record, 5, 6)
    record.close()
    assert series(directory).keys() == {*range(1, 7)}
    record = Recorder(directory, written, logger_of(config))
    write_steps(record, 5, 9)
    record.close()
    steps = [step for step, value in events(directory) if value.tag == "trace/hidden1/layer/p50"]
    assert steps == [*range(1, 10)]
    assert_shows_the_records(directory)


def write_steps(record, first, last):
    for step in range(first, last + 1):
        record.traces([{"step": step, "site": "hidden1", "unit": None, "p50": step / 10}])
        empty = step == 3  # as of a step whose inputs are no numbers
        counts = [0 if empty else k for k in range(histograms.COUNTS)]
        record.histograms([{"step": step, "site": "hidden1", "counts": counts}])


def test_a_finished_run_is_shown_later_as_it_would_have_been_live(trained, tmp_path):
    live, later = trained
    words = [*WORDS, f"runs={later.parents[2]}", "logger=tensorboard"]
    row = {"crops": 144, "statistics": "moving", "split": "test", "step": 60, "top1": 0.5}
    for _ in range(2):  # written anew
        said, config = list[str](), compose(words)
        publish.publish_all(config, directories_to_send(config, words), said.append)
    assert said[0] == "1 runs: 1 written"
    assert f"tensorboard --logdir {later.parents[2]}" in said[1]
    clock = {"timing/examples_per_second", "timing/waiting"}
    one, two = (
        [(s, v.SerializeToString()) for s, v in events(d) if v.tag not in {*clock, "run", "end"}]
        for d in (live, later)
    )
    assert sorted(one) == sorted(two)  # live, a step's numbers may be read before its counts
    (later / paths.EVALUATION).write_text(json.dumps(row) + "\n")
    publish.write_events(later)
    assert series(later)[60]["evaluation/144_moving/top1"] == 0.5


def test_the_command_says_where_to_look_and_what_is_missing(trained, monkeypatch, capsys):
    live, _ = trained
    words = [*WORDS, f"runs={live.parents[2]}", "logger=tensorboard"]
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0
    assert out.splitlines()[-1] == f"To look: tensorboard --logdir {live.parents[2]}"
    other = live.with_name("events")
    (live / paths.EVENTS).rename(other)
    out = call(monkeypatch, capsys, *words)[1]
    other.rename(live / paths.EVENTS)
    assert "without event files: 1 run (" in out
    assert out.rstrip().endswith("bn-repro publish logger=tensorboard writes them")


@pytest.mark.parametrize("command", ["train", "publish"])
def test_without_the_package_there_is_one_line(trained, monkeypatch, capsys, command):
    monkeypatch.setattr("bn_repro.config.schema.find_spec", lambda name: None)
    words = [*WORDS, f"runs={trained[0].parents[2]}", "logger=tensorboard"]
    code, _, err = call(monkeypatch, capsys, *words, command=command)
    assert code == 2
    assert "logger: the package tensorboard, which writes event files, is not installed; pip" in err
    assert err.count("\n") == 1


def test_trouble_with_event_files_never_ends_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    config = compose([*WORDS, f"runs={tmp_path}", "logger=tensorboard"])
    assert run(config, log=silent).state == "completed"
    said = capsys.readouterr().err
    assert said.startswith("tensorboard: ")
    assert "bn-repro publish logger=tensorboard sends them later" in said
    assert said.count("\n") == 1
