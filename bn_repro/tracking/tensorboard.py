"""A run directory as TensorBoard event files: a dashboard without an account.

They lie in the run directory, in ``tensorboard/``, and are a function of the other records: each
time that a run begins, or is published, they are written anew and whole. So no row comes twice, and
none is left out. Written by the ``tensorboard`` package alone, which needs neither torch nor
TensorFlow for it.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bn_repro.records import histograms, paths
from bn_repro.records.reader import FINISHED, read_config, read_manifest
from bn_repro.tracking.logger import flat
from bn_repro.tracking.series import History, Value, summary_of


class EventFile:
    """A run directory shown in TensorBoard, by event files in it.

    The series are those of W&B, under the same names. Its settings are the columns of TensorBoard's
    table of hyperparameters, its configuration and manifest a text.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._history = History(directory)
        self._writer: Any = None

    def begin(self) -> None:
        """Write what the records hold already, in place of earlier event files."""
        config, manifest = read_config(self.directory), read_manifest(self.directory)
        folder = self.directory / paths.EVENTS
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = _part("summary.writer.event_file_writer").EventFileWriter(str(folder))
        self._add(0, [_start(flat(config)), _text("run", flat(config, manifest=manifest))])
        self.follow()

    def follow(self) -> None:
        """Write the steps that have been recorded whole since the last time."""
        self._send(self._history.steps())
        self._writer.flush()

    def finish(self, state: str) -> None:
        """Write the rest, and how the run ended; a later evaluation stands at its last step."""
        try:
            self._send(self._history.steps(whole_to=math.inf))
            end = summary_of(self.directory)
            evaluated = {k: v for k, v in end.items() if k.startswith("evaluation/")}
            self._send([(end.get("step", 0), evaluated)])
            self._add(end.get("step", 0), [_text("end", {**end, "state": state}), _end(state)])
        finally:
            self._writer.close()

    def _send(self, steps: Iterable[tuple[int, Mapping[str, Value]]]) -> None:
        for step, values in steps:
            self._add(step, [_value(tag, value) for tag, value in values.items()])

    def _add(self, step: int, values: list[Any]) -> None:
        if values:
            event = _part("compat.proto.event_pb2").Event(wall_time=time.time(), step=step)
            event.summary.value.extend(values)
            self._writer.add_event(event)


def _part(name: str) -> Any:
    """A module of the package; it takes a third of a second, and most runs do without."""
    return import_module(f"tensorboard.{name}")


def _made(tag: str, **how: Any) -> Any:
    return _part("compat.proto.summary_pb2").Summary.Value(tag=tag, **how)


def _tensor(tag: str, plugin: str, content: np.ndarray) -> Any:
    about = _part(f"plugins.{plugin}.metadata").create_summary_metadata(tag, "")
    return _made(tag, metadata=about, tensor=_part("util.tensor_util").make_tensor_proto(content))


def _value(tag: str, value: Value) -> Any:
    """A point of a series: a number, or a histogram as rows of (left, right, count)."""
    if not isinstance(value, list):
        return _made(tag, simple_value=value)
    ends, filled = histograms.edges(), np.flatnonzero(value)
    buckets = np.array(list(zip(ends[:-1], ends[1:], value, strict=True)), np.float32)
    buckets = buckets[filled[0] : filled[-1] + 1] if len(filled) else buckets[:0]  # a narrow axis
    return _tensor(tag, "histogram", buckets)


def _text(tag: str, values: Mapping[str, Any]) -> Any:
    """Values as a table in TensorBoard's texts."""
    rows = [f"| `{key}` | {json.dumps(value)} |" for key, value in values.items()]
    table = "\n".join(["| | |", "| --- | --- |", *rows])
    return _tensor(tag, "text", np.array([table.encode()], dtype=object))


def _start(settings: Mapping[str, Any]) -> Any:
    """The settings, as the table of hyperparameters takes them."""
    content = _part("plugins.hparams.plugin_data_pb2").HParamsPluginData()
    hparams = content.session_start_info.hparams
    for key, value in settings.items():
        if isinstance(value, bool):
            hparams[key].bool_value = value
        elif isinstance(value, int | float):
            hparams[key].number_value = value
        else:
            hparams[key].string_value = value if isinstance(value, str) else json.dumps(value)
    return _session("SESSION_START_INFO_TAG", content)


def _end(state: str) -> Any:
    ended = "STATUS_SUCCESS" if state in FINISHED else "STATUS_FAILURE"
    content = _part("plugins.hparams.plugin_data_pb2").HParamsPluginData()
    content.session_end_info.status = getattr(_part("plugins.hparams.api_pb2"), ended)
    return _session("SESSION_END_INFO_TAG", content)


def _session(tag: str, content: Any) -> Any:
    metadata = _part("plugins.hparams.metadata")
    content.version = metadata.PLUGIN_DATA_VERSION
    about = metadata.create_summary_metadata(content)
    return _made(getattr(metadata, tag), metadata=about, tensor=metadata.NULL_TENSOR)
