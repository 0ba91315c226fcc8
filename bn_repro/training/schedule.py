"""The learning rate, and what is due at a step, as pure functions of the step."""

from __future__ import annotations

import math


def learning_rate(
    step: int, *, lr: float, decay_rate: float = 1.0, decay_every: float | None = None
) -> float:
    """The learning rate of ``step``, counted from 1: ``lr``, falling in stairs.

    Every ``decay_every`` steps it is multiplied by ``decay_rate``: GoogLeNet's "4 % every 8 epochs"
    is ``decay_rate=0.96`` (None: it stays). A fractional ``decay_every`` is the mean length of the
    stairs, so a compressed schedule decays by the same total as the original.
    """
    if decay_every is None:
        return lr
    return lr * decay_rate ** int((step - 1) / decay_every)


def is_due(step: int, *, every: int, dense: int) -> bool:
    """Whether ``step``, from 1, is due: 18 a decade up to ``dense``, then every ``every``-th."""
    if step <= dense:
        return step % max(1, 10 ** math.floor(math.log10(step)) // 2) == 0
    return every > 0 and step % every == 0
