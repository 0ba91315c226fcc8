"""Training throughput: examples a second, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Meter:
    """Times the steps between two evaluations; ``batch`` examples a step, over all ranks."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.steps, self.waiting, self.working, self._lap_start = 0, 0.0, 0.0, 0.0

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """``batches``, each timed: how long it was waited for, and how long it was worked on."""
        self._lap_start = time.perf_counter()
        for batch in batches:
            self.waiting += self._lap()
            self.steps += 1
            yield batch
            work = self._lap()
            if self.steps:  # else rates() ended this step: evaluating and saving are no part of it
                self.working += work

    def _lap(self) -> float:
        before, self._lap_start = self._lap_start, time.perf_counter()
        return self._lap_start - before

    def rates(self) -> dict[str, float]:
        """``examples_per_second`` and the share of time ``waiting`` for data, since the last call.

        Called within a step, it counts the step up to here and leaves out the rest.
        """
        spent = self.waiting + self.working + self._lap()
        rates = {
            "examples_per_second": round(self.batch * self.steps / spent, 1),
            "waiting": round(self.waiting / spent, 4),
        }
        self.steps, self.waiting, self.working = 0, 0.0, 0.0
        return rates
