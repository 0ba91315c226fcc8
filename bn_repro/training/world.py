"""The ranks that train one network together, as ``torchrun`` sets them up. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """This process among its ranks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this rank writes."""
        return self.rank == 0


def launched_world() -> World:
    """The world that ``torchrun`` set up in the environment; one rank without it."""
    env = os.environ
    if "RANK" not in env:
        return World()
    return World(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
