"""Where the time of training goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any


class Meter:
    """Where the time between two evaluations went: in the step, or in waiting for its data."""

    def __init__(self) -> None:
        self.steps, self.waited, self.worked, self.since = 0, 0.0, 0.0, 0.0
        self.told = False

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """``batches``, each timed: its own making, and what the loop then does with it."""
        self.since = time.perf_counter()
        for batch in batches:
            self.waited += self._lap()
            yield batch
            self.worked += self._lap()

    def _lap(self) -> float:
        before, self.since = self.since, time.perf_counter()
        return self.since - before

    def rates(self, batch: int) -> dict[str, float]:
        """Examples a second and the share of time spent waiting, since the last call."""
        spent = self.waited + self.worked + self._lap()
        rates = {
            "examples_per_second": round(batch * (self.steps + 1) / spent, 1),
            "waiting": round(self.waited / spent, 4),
        }
        self.steps, self.waited, self.worked, self.told = 0, 0.0, 0.0, True
        return rates

    def rest(self) -> None:
        """The step is over: evaluating and saving are no part of it where they were its end."""
        if self.told:
            self._lap()
        self.steps += not self.told
        self.told = False
