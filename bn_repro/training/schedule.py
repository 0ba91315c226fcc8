"""The learning rate as a pure function of the step."""

from __future__ import annotations


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
