"""The loggers of a run that trains: threads that read the run's files, as anyone could later.

Training writes its records and waits for nothing else. Whatever a dashboard does (W&B's server is
unreachable, its service is frozen or killed), the run's end waits for it for a limited time, and
what is not sent by then can be published later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from bn_repro.config.identity import arm_of, tags_of
from bn_repro.config.schema import Config
from bn_repro.records.recorder import Logger
from bn_repro.tracking.logger import RunUpload
from bn_repro.tracking.sent import Destination, destination_of, first_line
from bn_repro.tracking.tensorboard import EventFile
from bn_repro.tracking.wandb_run import FINISH_SECONDS, service_of_wandb

EVERY_SECONDS = 5.0
"""How often the records are looked at."""
PREEMPTED_SECONDS = 15.0
"""How long a preempted run waits for its dashboard: whoever asked it to stop will kill it soon."""


class Dashboard(Protocol):
    """A run directory that is shown somewhere; each method raises what goes wrong there."""

    def begin(self) -> None:
        """Show what the records hold already."""

    def follow(self) -> None:
        """Show the steps that have been recorded whole since the last time."""

    def finish(self, state: str) -> None:
        """Show the rest, and close with ``state``."""


class LiveLogger(Logger):
    """Shows a run while it trains, by the dashboard that ``show`` makes of its directory.

    It never ends the run: what goes wrong is one line on standard error, which begins with
    ``name`` and names ``later``, the command that sends the rest.
    """

    def __init__(self, show: Callable[[Path], Dashboard], name: str, later: str) -> None:
        self._show, self._name, self._later = show, name, later
        self._over, self._state, self._given_up = Event(), "", False

    def begin(self, directory: Path) -> None:
        """Begin to show the records in ``directory``, which from now on only grow."""
        shown = self._show(directory)
        self._thread = Thread(target=self._work, args=(shown,), daemon=True)
        self._thread.start()

    def finish(self, state: str) -> None:
        """Have the rest shown, and closed with ``state``; within a limited time."""
        self._state = state
        self._over.set()
        seconds = PREEMPTED_SECONDS if state == "preempted" else FINISH_SECONDS
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._given_up = True
            self._say(f"no answer within {seconds:.0f} s")
            self._give_up()

    def _give_up(self) -> None:
        """Let go of what this process would wait for when it ends."""

    def _work(self, shown: Dashboard) -> None:
        try:
            shown.begin()
            while not self._over.wait(EVERY_SECONDS):
                shown.follow()
            shown.finish(self._state)
        except Exception as error:
            if not self._given_up:
                self._say(first_line(error))

    def _say(self, what: str) -> None:
        print(
            f"{self._name}: {what}; the run goes on with its local records alone "
            f"({self._later} sends them later)",
            file=sys.stderr,
        )


class WandbLogger(LiveLogger):
    """Shows a run to ``destination``, under ``tags``, as a :class:`RunUpload` does."""

    def __init__(self, destination: Destination, tags: Sequence[str] = (), arm: str = "") -> None:
        show = partial(RunUpload, destination=destination, tags=tags, arm=arm, live=True)
        super().__init__(show, "wandb", "bn-repro publish")

    def _give_up(self) -> None:
        service = service_of_wandb()
        if service is not None:
            service.kill()
            service.wait()


class Loggers(Logger):
    """Several at once; none, too."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = loggers

    def begin(self, directory: Path) -> None:
        """Begin with each."""
        for logger in self.loggers:
            logger.begin(directory)

    def finish(self, state: str) -> None:
        """Finish each."""
        for logger in self.loggers:
            logger.finish(state)


def logger_of(config: Config) -> Loggers:
    """Where a configuration has its run shown while it trains."""
    loggers: list[Logger] = []
    if config.logger == "tensorboard":
        later = "bn-repro publish logger=tensorboard"
        loggers.append(LiveLogger(EventFile, "tensorboard", later))
    if config.wandb.mode != "disabled":
        made = asdict(config)
        loggers.append(WandbLogger(destination_of(config), tags_of(made), arm_of(made)))
    return Loggers(loggers)
