"""The W&B logger of a run that trains: a thread that reads the run's files, as anyone could later.

Training writes its records and waits for nothing else. Whatever W&B does (an unreachable server, a
service that is frozen or killed), the run's end waits for it for a limited time, and what is not
sent by then can be published later.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread

from bn_repro.tracking.logger import (
    FINISH_SECONDS,
    Destination,
    Mirror,
    first_line,
    service_of_wandb,
)

EVERY_SECONDS = 5.0
"""How often the records are looked at."""
PREEMPTED_SECONDS = 15.0
"""How long a run waits that was asked to stop: who asked does not wait for long."""


class WandbLogger:
    """Shows a run to ``destination`` while it trains, under ``tags``, as a :class:`Mirror` does.

    It never ends the run: what goes wrong is one line on standard error.
    """

    def __init__(self, destination: Destination, tags: Sequence[str] = (), arm: str = "") -> None:
        self.destination, self.tags, self.arm = destination, tags, arm
        self._over, self._state, self._given_up = Event(), "", False

    def begin(self, directory: Path) -> None:
        """Begin to show the records in ``directory``, which from now on only grow."""
        self.mirror = Mirror(directory, self.destination, self.tags, self.arm, live=True)
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def finish(self, state: str) -> None:
        """Have the rest sent, and the W&B run closed with ``state``; within a limited time."""
        self._state = state
        self._over.set()
        seconds = PREEMPTED_SECONDS if state == "preempted" else FINISH_SECONDS
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._given_up = True
            _say(f"no answer within {seconds:.0f} s")
            service = service_of_wandb()
            if service is not None:
                service.kill()  # or this process would wait for it when it ends
                service.wait()

    def _work(self) -> None:
        try:
            self.mirror.begin()
            while not self._over.wait(EVERY_SECONDS):
                self.mirror.follow()
            self.mirror.finish(self._state)
        except Exception as error:
            if not self._given_up:
                _say(first_line(error))


def _say(what: str) -> None:
    print(
        f"wandb: {what}; the run goes on with its local records alone "
        f"(bn-repro publish sends them later)",
        file=sys.stderr,
    )
