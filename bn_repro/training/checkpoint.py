"""Everything that a bit-exact resume needs, saved atomically and verified when loaded.

A checkpoint's name carries its step and the head of its SHA-256, so a file that was cut short or
altered is recognised by its name alone; the one before it is kept until the next is complete.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bn_repro.records.files import write_atomically

KEEP = 2
_DIGEST = 16


def save(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Save ``state`` (tensors, plain values) as the checkpoint of ``step``; keep the last two.

    One that is there of this step or a later one was damaged, or this step were not trained again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = directory / f"step{step:09d}-{_digest(content)}.pt"
    write_atomically(path, content)
    for other in _checkpoints(directory):
        if other != path and _step(other) >= step:
            other.unlink(missing_ok=True)
    trim(directory, KEEP)
    return path


def load_latest(
    directory: Path, device: torch.device | str = "cpu", say: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """The state of the last intact checkpoint; None without one. A damaged file is told of."""
    for path in reversed(_checkpoints(directory)):
        content = path.read_bytes()
        if path.stem.endswith("-" + _digest(content)):
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        say(f"{path}: damaged; going on from the checkpoint before it, or from the start")
    return None


def load_weights(model: nn.Module, saved: dict[str, torch.Tensor], directory: Path) -> None:
    """Give ``model`` a checkpoint's weights; ValueError if they are of another network."""
    ours = model.state_dict()
    wrong = [
        f"{name} is {_shape(saved.get(name))} there and {_shape(ours.get(name))} here"
        for name in dict.fromkeys([*ours, *saved])
        if _shape(saved.get(name)) != _shape(ours.get(name))
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"{directory}: the checkpoint is of another network: {wrong[0]}{more}")
    model.load_state_dict(saved)


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"


def trim(directory: Path, keep: int) -> None:
    """Remove all but the last ``keep`` checkpoints, and what an interrupted save left behind."""
    for path in [*_checkpoints(directory)[:-keep], *directory.glob(".*.partial")]:
        path.unlink(missing_ok=True)


def _checkpoints(directory: Path) -> list[Path]:
    return sorted(directory.glob("step*-*.pt"))


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step").partition("-")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]
