"""What finished networks say: evaluated anew from their checkpoints, and kept beside their runs.

An evaluation is a row of the run's ``evaluation.jsonl`` and a file of class probabilities, so that
an ensemble is a mean of files. Both are made once.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config, DataConfig
from bn_repro.data.batches import Data
from bn_repro.data.resident import ResidentImages
from bn_repro.norm import population_statistics
from bn_repro.records import paths
from bn_repro.records.files import write_atomically
from bn_repro.records.reader import (
    Outcome,
    Row,
    Unreadable,
    finished,
    read_config,
    read_evaluations,
    read_manifest,
    read_status,
)
from bn_repro.training import checkpoint
from bn_repro.training.build import build, check, configure_torch, device_of, in_memory
from bn_repro.training.evaluate import accuracies, scores
from bn_repro.training.loop import population_batches
from bn_repro.training.ranks import load_moving_averages
from bn_repro.training.step import autocast
from bn_repro.training.world import World

Seen = Callable[[int, int], None]
"""Told how many examples are done, of how many."""


def place(config: Config) -> Path:
    """The directory of the run of ``config``."""
    return directory_of(config, config.evaluation.world)


def ended(config: Config) -> Outcome:
    """How the run of ``config`` ended; ValueError where it has not."""
    directory = place(config)
    done = finished(directory)
    if done is None:
        status = read_status(directory)
        state = f"is {status['state']} at step {status['step']}" if status else "has not begun"
        raise ValueError(
            f"{directory}: the run {state}, and only finished runs are evaluated; "
            f"bring it to its end with scripts/train.py and the same words"
        )
    return done


def evaluated(config: Config, crops: int, seen: Seen = lambda done, of: None) -> Row:
    """The evaluation of the finished run of ``config``, kept or made; ``force`` makes it anew.

    With ``crops`` 1 it measures what the run itself did at its last step; with 144, GoogLeNet's
    multi-crop, the mean of the class probabilities. A network without BN has moving averages and
    population statistics alike: its row says "moving".

    Raises ValueError for a run that is not completed, that has no intact checkpoint of its last
    step or one of another network, and for other data than it was trained on.
    """
    check(config)
    directory, done = place(config), ended(config)
    if done.state == "diverged":
        raise ValueError(f"{directory}: the run diverged at step {done.step}: it left no network")
    statistics = statistics_of(config)
    known = kept(directory, crops, statistics)
    if known is not None and not config.force:
        return known
    configure_torch(config)
    device = device_of(config, World())
    model, data = build(_with_the_runs_data(config, directory))
    _same_data(directory, data)
    _load(model.to(device), directory, done.step, device)
    split = paths.monitored_split(data.splits)
    views = _views(data, split, crops, config, device)
    precision = autocast(device, config.train.precision)
    with precision, _normalizing(model, statistics, config, data, device):
        told = _telling(scores(model, views, several=crops > 1), data, split, seen)
        with in_memory("evaluation.batch_size"):
            scored = list(told)
    measured = {k: v if math.isfinite(v) else None for k, v in accuracies(scored).items()}
    row = {"crops": crops, "statistics": statistics, "split": split, "step": done.step, **measured}
    _keep(
        directory,
        row,
        probabilities=torch.cat([of_batch.softmax(1) for of_batch, _ in scored]).cpu().numpy(),
        labels=torch.cat([y for _, y in scored]).cpu().numpy(),
    )
    return row


def statistics_of(config: Config) -> str:
    """What the network normalizes by, as its rows name it."""
    return "moving" if config.model.norm == "none" else config.evaluation.statistics


def _normalizing(
    model: nn.Module, statistics: str, config: Config, data: Data, device: torch.device
) -> AbstractContextManager[None]:
    if statistics == "moving":
        return nullcontext()
    if not config.train.population_batches:
        raise ValueError("evaluation.statistics: population needs train.population_batches > 0")
    if config.model.norm == "sync_batch":  # the ranks of the run had one mini-batch together
        size = config.train.batch_size * config.evaluation.world
        config = replace(config, train=replace(config.train, batch_size=size))
    return population_statistics(model, population_batches(config, data, device, World()))


def _telling(
    scored: Iterable[tuple[torch.Tensor, torch.Tensor]], data: Data, split: str, seen: Seen
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    done, n = 0, data.splits[split]
    for of_batch, y in scored:
        yield of_batch, y
        done += len(y)
        seen(done, n)
    assert n - len(data.quarantined) <= done <= n, "every example of the split once"


def kept(directory: Path, crops: int, statistics: str) -> Row | None:
    """An evaluation made before, if its row and its probabilities are there."""
    if not paths.predictions_file(directory, crops, statistics).exists():
        return None
    key = crops, statistics
    return next(
        (r for r in read_evaluations(directory) if (r["crops"], r["statistics"]) == key), None
    )


def _keep(directory: Path, row: Row, **arrays: np.ndarray) -> None:
    """The probabilities first: a row without them is not believed."""
    path = paths.predictions_file(directory, row["crops"], row["statistics"])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        path.parent.mkdir(exist_ok=True)
        with FileLock(directory / paths.PREDICTIONS / "lock"):
            write_atomically(path, buffer.getvalue())
            name = row["crops"], row["statistics"]
            others = [
                r for r in read_evaluations(directory) if (r["crops"], r["statistics"]) != name
            ]
            lines = "".join(json.dumps(r) + "\n" for r in [*others, row])
            write_atomically(directory / paths.EVALUATION, lines.encode())
    except OSError as error:
        raise ValueError(f"{directory}: the evaluation cannot be written ({error})") from error


def _views(data: Data, split: str, crops: int, config: Config, device: torch.device) -> Any:
    """Mini-batches of the split: x (B, ...), or x (B, K, ...) with K crops of each image."""
    size = config.evaluation.batch_size or config.train.eval_batch_size
    if crops == 1:
        return data.eval_batches(split, batch_size=size, device=device)
    if not hasattr(data, "multi_crop_batches"):
        raise ValueError(f"evaluation.crops: {data.name} has no crops but the single one; give 1")
    # Squares of a square image are one: 48 crops have the mean of the 144.
    resident = isinstance(data, ResidentImages)
    few, options = (crops // 3, {"repeated": False}) if resident else (crops, {})
    images = max(1, size // few)
    return data.multi_crop_batches(  # pyright: ignore[reportAttributeAccessIssue]
        split, batch_size=images, device=device, **options
    )


def _with_the_runs_data(config: Config, directory: Path) -> Config:
    """``config``; where it does not say where the data lie, they lie where the run found them, and
    what the run bore with it bears with too."""
    try:
        before = read_config(directory)["data"]
    except (Unreadable, KeyError):
        return config
    d = config.data
    found = {"root": d.root or before.get("root"), "cache": d.cache or before.get("cache")}
    if d.on_error == DataConfig().on_error:
        found["on_error"] = before.get("on_error", d.on_error)
    return replace(config, data=replace(d, **found))


def _same_data(directory: Path, data: Data) -> None:
    before = read_manifest(directory).get("data")
    if before != data.fingerprint:
        raise ValueError(
            f"{directory}: the run was trained on data {str(before)[:16]}, but {data.name} is now "
            f"{data.fingerprint[:16]}; give the folder of the former with data.root=..."
        )


def _load(model: nn.Module, directory: Path, step: int, device: torch.device) -> None:
    """The weights of the run's last checkpoint, into ``model``."""
    folder = directory / paths.CHECKPOINTS
    saved = checkpoint.load_latest(folder, device, say=lambda line: None)
    if saved is None or saved["step"] != step:
        found = "none" if saved is None else f"step {saved['step']}"
        raise ValueError(
            f"{folder}: no intact checkpoint of step {step}, the run's last ({found} found); "
            f"train the run again with force=true"
        )
    checkpoint.load_weights(model, saved["model"], folder)
    if saved.get("replicas"):  # the network of several ranks has the mean of their averages
        load_moving_averages(model, [torch.stack(saved["replicas"]).mean(0)], World())
