"""The device and ranks of a run, its stop flag, and its log: what every part of training needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from bn_repro.stop_signal import StopFlag
from bn_repro.training.ranks import total
from bn_repro.training.world import World

Log = Callable[[str], None]
"""Takes one line of text."""
Progress = Callable[[int, Mapping[str, float]], None]
"""Progress callback: (step, latest metrics on the monitored split)."""


def no_progress(step: int, metrics: Mapping[str, float]) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Session:
    """The device and the ranks a run trains on, its stop flag, and where its lines go."""

    device: torch.device
    world: World = field(default_factory=World)
    stop: StopFlag = field(default_factory=StopFlag)
    log: Log = print
    progress: Progress = no_progress

    def any_rank(self, holds: bool) -> bool:
        """Whether it ``holds`` on any rank; all ranks must ask at the same step."""
        if self.world.size == 1:
            return holds
        return bool(total(torch.tensor(float(holds), device=self.device), self.world))

    def stop_agreed(self) -> bool:
        """Whether any rank was asked to stop; all ranks must ask at the same step."""
        return self.any_rank(bool(self.stop))
