"""The training state: saved atomically, verified when loaded, restored for a bit-exact resume.

A checkpoint's name carries its step and the head of its SHA-256, so a file that was cut short or
altered is recognised by its name alone; the one before it is kept until the next is complete.
"""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bn_repro.config.schema import Config
from bn_repro.records.files import write_atomically
from bn_repro.training.correct import Correct
from bn_repro.training.optimizer import PolyakAverage, sgd
from bn_repro.training.ranks import gather_moving_averages, load_moving_averages
from bn_repro.training.session import Log, Session
from bn_repro.training.world import World

KEEP = 2
"""How many checkpoints a run in progress has."""
_DIGEST = 16


class TrainingState:
    """What training changes: the network, its optimizer and averages, and how far it is.

    ``step`` is the last that was done, ``monitored`` the latest metrics on the monitored split,
    ``correct`` which of its images were right.
    """

    def __init__(self, config: Config, model: nn.Module, world: World) -> None:
        self.model, self.world = model, world
        self.optimizer = sgd(model, config)
        share = config.train.polyak
        self.average = PolyakAverage(model, share) if share else None
        self.step = 0
        self.monitored: dict[str, float] = {}
        self.correct = Correct()
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of training in all, the time before a resume included."""
        return time.perf_counter() - self._start

    def advance(self, step: int) -> None:
        """The update of ``step`` is done: it enters the average of the weights."""
        if self.average is not None:
            self.average.update()
        self.step = step

    def restore(self, folder: Path, session: Session) -> dict[str, int]:
        """Resume from the last intact checkpoint in ``folder``, if there is one.

        Gives the lengths of the records at that time, empty without a checkpoint.
        """
        saved = load_latest(folder, session.device, session.log)
        if saved is None:
            return {}
        load_weights(self.model, saved["model"], folder)
        self.optimizer.load_state_dict(saved["optimizer"])
        load_moving_averages(self.model, saved["replicas"], self.world)
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.step, self.monitored = saved["step"], saved["last"]
        self.correct.state = saved.get("correct", {})  # a checkpoint of an older version has none
        self._start -= saved["seconds"]
        return saved["lengths"]

    def save(self, folder: Path, lengths: dict[str, int]) -> float:
        """Save a checkpoint, the records' ``lengths`` with it; gives the seconds it was saved at.

        All ranks must call it together; the first one writes.
        """
        replicas, seconds = gather_moving_averages(self.model, self.world), self.seconds
        if self.world.main:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "replicas": replicas,
                "average": None if self.average is None else self.average.state_dict(),
                "step": self.step,
                "seconds": seconds,
                "last": self.monitored,
                "correct": self.correct.state,
                "lengths": lengths,
            }
            save(folder, self.step, state)
        return seconds


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Save ``state`` (tensors, plain values) as the checkpoint of ``step``; keep the last two.

    Checkpoints of this step or later ones are removed: had they been intact, training would have
    resumed from them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"step{step:09d}-{_digest(content)}.pt"
    write_atomically(path, content)
    for other in _checkpoints(folder):
        if other != path and _step(other) >= step:
            other.unlink(missing_ok=True)
    trim(folder, KEEP)
    return path


def load_latest(
    folder: Path, device: torch.device | str = "cpu", log: Log = print
) -> dict[str, Any] | None:
    """The state of the last intact checkpoint; None without one. Damaged ones are logged."""
    for path in reversed(_checkpoints(folder)):
        content = path.read_bytes()
        if path.stem.endswith("-" + _digest(content)):
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        log(f"{path}: damaged; going on from the checkpoint before it, or from step 0")
    return None


def load_trained(model: nn.Module, folder: Path, step: int) -> None:
    """Give ``model`` the weights of a finished run, whose last ``step`` is in ``folder``.

    Several ranks' network has the mean of their moving averages. ValueError where there is no
    intact checkpoint of that step, or one of another network.
    """
    saved = load_latest(folder, log=lambda line: None)
    if saved is None or saved["step"] != step:
        found = "none" if saved is None else f"step {saved['step']}"
        raise ValueError(
            f"{folder}: no intact checkpoint of step {step}, the run's last ({found} found); "
            f"train the run again with force=true"
        )
    load_weights(model, saved["model"], folder)
    if saved.get("replicas"):
        load_moving_averages(model, [torch.stack(saved["replicas"]).mean(0)], World())


def load_weights(model: nn.Module, saved: dict[str, torch.Tensor], source: Path) -> None:
    """Give ``model`` the weights of ``source``; ValueError if they are of another network."""
    own = model.state_dict()
    wrong = [
        f"{name} is {_form(saved.get(name))} there and {_form(own.get(name))} here"
        for name in dict.fromkeys([*own, *saved])
        if _form(saved.get(name)) != _form(own.get(name))
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"{source}: is of another network: {wrong[0]}{more}")
    model.load_state_dict(saved)


def _form(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "missing"
    shape = "x".join(map(str, tensor.shape)) or "a number"
    return shape if tensor.dtype == torch.float32 else f"{shape} {tensor.dtype}"


def trim(folder: Path, keep: int) -> None:
    """Remove all but the last ``keep`` checkpoints, and what an interrupted save left behind."""
    for path in [*_checkpoints(folder)[:-keep], *folder.glob(".*.partial")]:
        path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step*-*.pt"))


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step").partition("-")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]
