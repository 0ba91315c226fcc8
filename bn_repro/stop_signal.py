"""The flag that asks this process to stop: set by a signal, read where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTING = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""Ctrl-C; torchrun and SLURM; what a SLURM site or submitit sends before a machine is taken away.
SIGHUP and SIGQUIT end a process at once, as a kill would."""

_listening: list[StopFlag] = []
"""The flags that catch signals now, the innermost last."""


def check() -> None:
    """KeyboardInterrupt where this process has been asked to stop.

    For work that takes long and comes before the first step: reading, decoding, waiting.
    """
    if _listening and _listening[-1]:
        raise KeyboardInterrupt


class StopFlag:
    """Truthy once a signal has asked to stop; ``name`` is that of the first.

    The loop reads it between two steps, so nothing is saved inside a signal handler. A second
    Ctrl-C raises KeyboardInterrupt at once, unless the flag is ``patient``.
    """

    def __init__(self, patient: bool = False) -> None:
        self.name: str | None = None
        self.patient = patient

    def __bool__(self) -> bool:
        return self.name is not None

    @contextmanager
    def listening(self) -> Iterator[StopFlag]:
        """Within: catch the signals in PREEMPTING. Does nothing outside the main thread.

        What a flag around this one has caught by now, this one has caught too.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        if _listening:
            self.name = self.name or _listening[-1].name
        numbers = [getattr(signal, name) for name in PREEMPTING if hasattr(signal, name)]
        before = {number: signal.signal(number, self._set) for number in numbers}
        _listening.append(self)
        try:
            yield self
        finally:
            _listening.remove(self)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT and not self.patient:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name
