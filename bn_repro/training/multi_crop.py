"""Finished networks evaluated from their checkpoints, by one crop or many; kept beside their runs.

An evaluation is a row of the run's ``evaluation.jsonl`` (crops, statistics, split, step, loss, top1
and, if it has, top5) and a file of class probabilities, so an ensemble is a mean of files. Both are
made once.
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

from bn_repro.config.dataset import ImageFilesConfig
from bn_repro.config.identity import directory_of
from bn_repro.config.network import BATCH_NORMS, NORMS
from bn_repro.config.schema import Config
from bn_repro.data.batches import Data
from bn_repro.data.resident import ResidentImages
from bn_repro.norm import is_synchronized, population_statistics
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.files import write_atomically
from bn_repro.records.json_files import Row
from bn_repro.records.reader import Outcome, finished, last_status, read_config, read_evaluations
from bn_repro.training import checkpoint
from bn_repro.training.build import build, configure_torch, device_of, in_memory
from bn_repro.training.evaluate import accuracies, scores
from bn_repro.training.finished import check_no_copy, check_same_data
from bn_repro.training.loop import Batch
from bn_repro.training.population_batches import population_batches
from bn_repro.training.precision import autocast
from bn_repro.training.session import Session
from bn_repro.training.world import World

ImageProgress = Callable[[int, int], None]
"""Progress callback: (examples done, examples in all)."""


def evaluated_directory(config: Config) -> Path:
    """The directory of the run of ``config``, trained by ``evaluation.world`` ranks."""
    return directory_of(config, config.evaluation.world)


def require_finished(config: Config) -> Outcome:
    """How the run of ``config`` ended; ValueError where it has not, or is another's copy."""
    directory = evaluated_directory(config)
    check_no_copy(directory)
    done = finished(directory)
    if done is None:
        last = last_status(directory)
        begun = (directory / paths.STATUS).exists()
        state = f"is {last.state} at step {last.step}" if begun else "has not begun"
        raise ValueError(
            f"{directory}: the run {state}, and only finished runs are evaluated; "
            f"finish it with bn-repro train and the same overrides"
        )
    return done


def evaluate_run(
    config: Config, crops: int, progress: ImageProgress = lambda done, total: None
) -> Row:
    """The evaluation of the finished run of ``config``: the one kept, or with ``force`` a new one.

    1 crop repeats what the run measured at its last step; 144 are GoogLeNet's multi-crop, the mean
    of the class probabilities. A network without BN normalizes by nothing: its row says "moving".

    Raises ValueError for a run that is not completed, that has no intact checkpoint of its last
    step or one of another network, and for other data than it was trained on.
    """
    directory, done = evaluated_directory(config), require_finished(config)
    if done.state == "diverged":
        raise ValueError(f"{directory}: the run diverged at step {done.step}: it left no network")
    statistics = statistics_of(config)
    kept = kept_evaluation(directory, crops, statistics)
    if kept is not None and not config.force:
        return kept
    configure_torch(config)
    session = Session(device_of(config, World()), log=lambda line: None)
    model, data = build(_with_data_of(directory, config))
    check_same_data(directory, data, fix="give the folder of the run's data with data.root=...")
    checkpoint.load_trained(model.to(session.device), directory / paths.CHECKPOINTS, done.step)
    split = paths.monitored_split(data.splits)
    batches = _crop_batches(data, split, crops, config, session.device)
    precision = autocast(session.device, config.train.precision)
    with precision, _normalized_by(statistics, model, config, data, session):
        scored = scores(model, batches, several=crops > 1)
        with in_memory("evaluation.batch_size"):
            results = list(_with_progress(scored, data, split, progress))
    metrics = {k: v if math.isfinite(v) else None for k, v in accuracies(results).items()}
    row = {"crops": crops, "statistics": statistics, "split": split, "step": done.step, **metrics}
    probabilities = torch.cat([logits.softmax(1) for logits, _ in results]).cpu().numpy()
    labels = torch.cat([y for _, y in results]).cpu().numpy()
    _keep(directory, row, probabilities=probabilities, labels=labels)
    return row


def statistics_of(config: Config) -> str:
    """What the network normalizes by, as its evaluation's row says it: moving or population."""
    without = config.model.norm in NORMS and config.model.norm not in BATCH_NORMS
    return "moving" if without else config.evaluation.statistics


def predictions_file(config: Config, crops: int) -> Path:
    """Where the class probabilities of an evaluation are kept."""
    return paths.predictions_file(evaluated_directory(config), crops, statistics_of(config))


def _normalized_by(
    statistics: str, model: nn.Module, config: Config, data: Data, session: Session
) -> AbstractContextManager[None]:
    if statistics == "moving":
        return nullcontext()
    if not config.train.population_batches:
        raise ValueError("evaluation.statistics: population needs train.population_batches > 0")
    if is_synchronized(model):  # the run's ranks normalized one joint mini-batch
        size = config.train.batch_size * config.evaluation.world
        config = replace(config, train=replace(config.train, batch_size=size))
    return population_statistics(model, population_batches(config, data, session))


def _with_progress(
    scored: Iterable[Batch], data: Data, split: str, progress: ImageProgress
) -> Iterator[Batch]:
    done, total = 0, data.splits[split]
    for logits, y in scored:
        yield logits, y
        done += len(y)
        progress(done, total)
    assert total - len(data.quarantined) <= done <= total, "every example of the split once"


def kept_evaluation(directory: Path, crops: int, statistics: str) -> Row | None:
    """The evaluation made before, if both its row and its probabilities are there."""
    if not paths.predictions_file(directory, crops, statistics).exists():
        return None
    rows = read_evaluations(directory)
    return next((row for row in rows if _is_of(row, crops, statistics)), None)


def _is_of(row: Row, crops: int, statistics: str) -> bool:
    return (row["crops"], row["statistics"]) == (crops, statistics)


def _keep(directory: Path, row: Row, **arrays: np.ndarray) -> None:
    """The probabilities are written first: a row without them does not count."""
    crops, statistics = row["crops"], row["statistics"]
    path = paths.predictions_file(directory, crops, statistics)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        path.parent.mkdir(exist_ok=True)
        with FileLock(directory / paths.PREDICTIONS / "lock"):
            write_atomically(path, buffer.getvalue())
            rows = [r for r in read_evaluations(directory) if not _is_of(r, crops, statistics)]
            lines = "".join(json.dumps(r) + "\n" for r in [*rows, row])
            write_atomically(directory / paths.EVALUATION, lines.encode())
    except OSError as error:
        raise ValueError(f"{directory}: the evaluation cannot be written ({error})") from error


def _crop_batches(data: Data, split: str, crops: int, config: Config, device: torch.device) -> Any:
    """Mini-batches of the split: x (B, ...), or x (B, K, ...) with K crops of each image."""
    size = config.evaluation.batch_size or config.train.eval_batch_size
    if crops == 1:
        return data.eval_batches(split, batch_size=size, device=device)
    if not hasattr(data, "multi_crop_batches"):
        raise ValueError(f"evaluation.crops: {data.name} has no crops but the single one; give 1")
    # Images in memory are square, so the three squares of each are the same: every crop would come
    # three times, and 48 have the mean of all 144.
    distinct = crops // 3 if isinstance(data, ResidentImages) else crops
    return data.multi_crop_batches(  # pyright: ignore[reportAttributeAccessIssue]
        split, batch_size=max(1, size // distinct), device=device
    )


def _with_data_of(directory: Path, config: Config) -> Config:
    """``config``, with the run's own data folder, cache and ``on_error`` where it gives none."""
    try:
        before = read_config(directory)["data"]
    except (Unreadable, KeyError):
        return config
    before = before or {}
    d = config.data
    changes = {"root": d.root or before.get("root"), "cache": d.cache or before.get("cache")}
    if isinstance(d, ImageFilesConfig) and d.on_error == ImageFilesConfig.on_error:
        changes["on_error"] = before.get("on_error", d.on_error)
    return replace(config, data=replace(d, **changes))
