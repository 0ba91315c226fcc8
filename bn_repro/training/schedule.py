"""The learning rate as a pure function of the step."""

from __future__ import annotations


def learning_rate(
    step: int, *, lr: float, decay_rate: float = 1.0, decay_every: float | None = None
) -> float:
    """The rate of the update that makes step ``step`` (counted from 1).

    ``decay_every`` steps long stairs, each ``decay_rate`` times the one before: GoogLeNet's "4 %
    every 8 epochs" is ``decay_rate=0.96``. A fractional ``decay_every`` keeps the stairs' mean
    length, so that a compressed schedule decays by the same total as the one it stands for.
    """
    if decay_every is None:
        return lr
    return lr * decay_rate ** int((step - 1) / decay_every)
