"""A rank that no longer answers is named within minutes, and the others end.

A rank that was stopped (SIGSTOP), or whose machine is cut off, closes no connection, so the ranks'
own exchanges wait for it: gloo for half an hour. Here a thread of each rank writes heartbeats to
the store where the ranks met, and another watches those of the others. A rank at work sends
them however long its work takes, as when it decodes images that the others wait for.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from bn_repro.training.world import World

LIMIT_SECONDS, POLL_SECONDS = 300, 5.0
"""How long a rank may be silent, and how often heartbeats are written and read."""
LEFT = b"left"


class RankLost(RuntimeError):
    """A rank does not answer any more: one line with its number and its machine."""


@contextmanager
def watched_ranks(world: World, lost: Callable[[RankLost], object]) -> Iterator[None]:
    """Within: ``lost`` is called, in a thread, where a rank is silent for LIMIT_SECONDS.

    By then the main thread is likely blocked on that rank until the process ends. Seconds in which
    this rank itself was stopped do not count.
    """
    over, heartbeats = Event(), [b""] * world.size
    # Two threads: where the store itself does not answer, whoever asks it is stuck.
    Thread(target=_send_heartbeats, args=(world, heartbeats, over), daemon=True).start()
    Thread(target=_watch_heartbeats, args=(world, heartbeats, over, lost), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _send_heartbeats(world: World, heartbeats: list[bytes], over: Event) -> None:
    """Write this rank's to the store, and read those of all."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    names = [f"bn_repro/{attempt}/{rank}" for rank in range(world.size)]
    try:
        # A connection of its own: that of the process group has its own waits.
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            wait_for_workers=False,
            timeout=timedelta(days=9),  # PyTorch writes lines of its own where this is met
        )
        for count in itertools.count():
            store.set(names[world.rank], f"{socket.gethostname()} {count}")
            heartbeats[:] = store.multi_get(names)
            if over.wait(POLL_SECONDS):
                store.set(names[world.rank], LEFT.decode())
                return
    except RuntimeError:
        return  # who kept the store has ended, and with it what the ranks do together


def _watch_heartbeats(
    world: World, heartbeats: list[bytes], over: Event, lost: Callable[[RankLost], object]
) -> None:
    before, silent = list(heartbeats), [0.0] * world.size
    while not over.wait(POLL_SECONDS):
        now = list(heartbeats)
        for rank in range(world.size):
            same = now[rank] == before[rank] != LEFT
            silent[rank] = silent[rank] + POLL_SECONDS if same else 0.0
        before = now
        gone = [rank for rank in range(world.size) if silent[rank] >= LIMIT_SECONDS]
        if world.rank in gone:  # its own do not come back: rank 0 keeps the store
            gone = [0] if world.rank else []
        if gone:
            host = now[gone[0]].decode().partition(" ")[0] or os.environ["MASTER_ADDR"]
            lost(
                RankLost(
                    f"rank {gone[0]} on {host} has not answered for {LIMIT_SECONDS} s: it was "
                    f"stopped, or its machine is cut off; run the same command again to go on"
                )
            )
            return
