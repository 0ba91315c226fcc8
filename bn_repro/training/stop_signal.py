"""The flag that asks a run to stop: set by a signal, read between two steps. No torch here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTING = ("SIGINT", "SIGTERM", "SIGUSR2")  # Ctrl-C; torchrun and SLURM; submitit


class StopFlag:
    """Truthy once a signal has asked to stop; ``name`` is that signal's.

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
        """Within: catch the signals in PREEMPTING. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = [getattr(signal, name) for name in PREEMPTING if hasattr(signal, name)]
        before = {number: signal.signal(number, self._set) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT and not self.patient:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
