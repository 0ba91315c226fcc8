"""The training state: saved atomically, verified when loaded, restored for a bit-exact resume.

A checkpoint's name carries its step and the head of its SHA-256, so a file that was cut short or
altered is recognised by its name alone; the one before it is kept until the next is complete. What
else is in the folder (a link, a file of another name or content) is named and passed over.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bn_repro.config.schema import Config
from bn_repro.records.files import write_atomically
from bn_repro.records.recorder import Written
from bn_repro.training.correct import Correct
from bn_repro.training.optimizer import PolyakAverage, sgd
from bn_repro.training.ranks import gather_moving_averages, load_moving_averages
from bn_repro.training.session import Log, Session
from bn_repro.training.world import World

KEEP = 2
"""How many checkpoints a run in progress has."""
_NAME = re.compile(r"step(\d+)-([0-9a-f]{16})\.pt")
_PARTS = {
    **{"model": dict, "optimizer": dict, "replicas": list, "average": dict | None},
    **{"step": int, "seconds": float, "last": dict},
}
"""What a checkpoint has, of which kinds."""


class TrainingState:
    """What training changes: the network, its optimizer and averages, and how far it is.

    ``step`` is the last that was done, ``monitored`` the latest metrics on the monitored split,
    ``correct`` which of its images were right.
    """

    def __init__(self, config: Config, model: nn.Module, data: str, world: World) -> None:
        """``data`` is the fingerprint of what is trained on."""
        self.config, self.model, self.data, self.world = config, model, data, world
        self._begin()

    def _begin(self) -> None:
        self.optimizer = sgd(self.model, self.config)
        share = self.config.train.polyak
        self.average = PolyakAverage(self.model, share) if share else None
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

    def restore(self, folder: Path, session: Session) -> dict[str, Written]:
        """Resume from the last intact checkpoint in ``folder``, if there is one.

        Gives what was in the records at that time, empty without a checkpoint. ValueError for one
        of another network, or of other data.
        """
        initial = copy.deepcopy(self.model.state_dict())
        for path, saved in _intact(folder, session.device, session.log):
            load_weights(self.model, saved["model"], folder)
            if saved.get("data", self.data) != self.data:  # the manifest, which says so, was lost
                raise ValueError(f"{path}: saved on other data; start over with force=true")
            try:
                return self._take(saved)
            except Exception:  # of any kind: what is in the file may be anything
                session.log(_damaged(path))
            self.model.load_state_dict(initial)
            self._begin()
        return {}

    def _take(self, saved: dict[str, Any]) -> dict[str, Written]:
        if saved["step"] > self.config.train.steps:
            raise ValueError("the run does not go as far")
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        for k, state in saved["optimizer"]["state"].items():
            tensors = filter(torch.is_tensor, state.values())
            if any(tensor.shape != weights[k].shape for tensor in tensors):
                raise ValueError("the momentum is of another network")
        self.optimizer.load_state_dict(saved["optimizer"])
        load_moving_averages(self.model, saved["replicas"], self.world)
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.step, self.monitored = saved["step"], saved["last"]
        self.correct.state = saved.get("correct", {})  # a checkpoint of an older version has none
        self._start -= saved["seconds"]
        older = {name: (length, None) for name, length in saved.get("lengths", {}).items()}
        written = saved.get("written", older)
        return {name: (int(length), digest) for name, (length, digest) in written.items()}

    def save(self, folder: Path, written: dict[str, Written]) -> float:
        """Save a checkpoint, what is ``written`` with it; gives the seconds it was saved at.

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
                "data": self.data,
                "seconds": seconds,
                "last": self.monitored,
                "correct": self.correct.state,
                "written": written,
            }
            save(folder, self.step, state)
        return seconds


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Save ``state`` (tensors, plain values) as the checkpoint of ``step``; keep the last two.

    Checkpoints of this step or later ones are removed: had they been intact, training would have
    resumed from them. The run's own folder is not made: where it is gone, so are the records.
    """
    folder.mkdir(exist_ok=True)
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
    """The state of the last intact checkpoint; None without one. What else is there is logged."""
    return next((saved for _, saved in _intact(folder, device, log)), None)


def _intact(
    folder: Path, device: torch.device | str, log: Log
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The intact checkpoints, the last first."""
    entries = set(folder.iterdir()) if folder.is_dir() else set()
    found = _checkpoints(folder)
    for path in sorted(entries.difference(found)):
        if not path.name.startswith("."):
            log(f"{path}: damaged: no file that a run saves here; it is passed over")
    for path in reversed(found):
        saved = _load(path, device)
        if saved is None:
            log(_damaged(path))
        else:
            yield path, saved


def _damaged(path: Path) -> str:
    return f"{path}: damaged; going on from the checkpoint before it, or from step 0"


def _load(path: Path, device: torch.device | str) -> dict[str, Any] | None:
    """The state in a file; None where the file was altered, or is of another program."""
    content = path.read_bytes()
    if not path.stem.endswith("-" + _digest(content)):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that is about to be named as damaged
            saved = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception:  # of pickle, zipfile and torch, whose advice is to run what is in the file
        return None
    return saved if _is_whole(saved, _step(path)) else None


def _is_whole(saved: Any, step: int) -> bool:
    """Whether what a file holds has all parts of the checkpoint of ``step``."""
    return (
        isinstance(saved, dict)
        and all(key in saved and isinstance(saved[key], kind) for key, kind in _PARTS.items())
        and saved["step"] == step
        and all(map(torch.is_tensor, [*saved["model"].values(), *saved["replicas"]]))
        and math.isfinite(saved["seconds"])
        and all(isinstance(value, int | float) for value in saved["last"].values())
    )


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
    if saved["replicas"]:
        try:
            load_moving_averages(model, [torch.stack(saved["replicas"]).mean(0)], World())
        except RuntimeError:
            raise ValueError(f"{folder}: its moving averages are of another network") from None


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
    kinds = (str(tensor.dtype), "torch.float32"), (str(tensor.layout), "torch.strided")
    return " ".join([shape, *(kind for kind, usual in kinds if kind != usual)])


def trim(folder: Path, keep: int) -> None:
    """Remove all but the last ``keep`` checkpoints, and what an interrupted save left behind."""
    for path in [*_checkpoints(folder)[:-keep], *folder.glob(".*.partial")]:
        path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """The files that bear a checkpoint's name, in the order of their steps; links are none."""
    named = (path for path in folder.glob("step*.pt") if _NAME.fullmatch(path.name))
    return sorted((p for p in named if p.is_file() and not p.is_symlink()), key=_step)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step").partition("-")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
