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
    """The world that ``torchrun`` set up in the environment; one rank without it.

    ValueError where those variables are incomplete, or contradict each other.
    """
    if "RANK" not in os.environ:
        return World()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    said = [
        os.environ.get(name, usual) for name, usual in zip(names, ("", "", "0", "1"), strict=True)
    ]
    world = World(*map(int, said)) if all(map(str.isdecimal, said)) else World(0, 0)
    if world.rank >= world.size:
        found = ", ".join(f"{name}={value}" for name, value in zip(names, said, strict=True))
        raise ValueError(
            f"{found}: not a rank of several as torchrun sets them; without it leave RANK unset"
        )
    return world


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loader_workers(wanted: int, beside: int) -> int:
    """The workers of one of ``beside`` runs or ranks: no more than its part of the cores."""
    return min(wanted, max(1, cores() // beside))
