"""The learning rate at a step: training uses it, and a dashboard shows it beside the records."""

from __future__ import annotations

from bn_repro.config.schema import Config


def learning_rate(
    step: int, *, lr: float, decay_rate: float = 1.0, decay_every: float | None = None
) -> float:
    """The learning rate of ``step``, counted from 1: ``lr``, falling in steps.

    Every ``decay_every`` steps it is multiplied by ``decay_rate``: GoogLeNet's "4 % every 8 epochs"
    is ``decay_rate=0.96`` (None: it stays). A fractional ``decay_every`` is the mean length of a
    step, so a compressed schedule decays by the same total as the original.
    """
    if decay_every is None:
        return lr
    return lr * decay_rate ** int((step - 1) / decay_every)


def learning_rate_at(step: int, config: Config) -> float:
    """The learning rate of ``step``.

    A run shorter than the paper's (``train.paper_steps``) decays in proportionally shorter steps.
    """
    o, t = config.optimizer, config.train
    every = o.decay_every
    if every is not None:
        every *= t.steps / (t.paper_steps or t.steps) / o.decay_speed
    return learning_rate(step, lr=o.lr, decay_rate=o.decay_rate, decay_every=every)
