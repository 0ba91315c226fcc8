"""The ranks that train one network together, as ``torchrun`` sets them up, and the cores they have.

No torch here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """This process among its ranks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def main(self) -> bool:
        """Whether this rank writes."""
        return self.rank == 0


def launched_world() -> World:
    """The world that ``torchrun`` set up in the environment; one rank without it."""
    env = os.environ
    if "RANK" not in env:
        return World()
    local = (
        int(env.get(name, usual)) for name, usual in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    return World(int(env["RANK"]), int(env["WORLD_SIZE"]), *local)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loader_workers(wanted: int, beside: int) -> int:
    """The workers of one of ``beside`` runs or ranks: no more than its part of the cores."""
    return min(wanted, max(1, cores() // beside))
