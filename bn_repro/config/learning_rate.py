"""The learning rate at a step: training uses it, and a dashboard shows it beside the records."""

from __future__ import annotations

from bn_repro.config.schema import Config


def learning_rate_at(step: int, config: Config) -> float:
    """The learning rate of ``step``, counted from 1: ``optimizer.lr``, falling in steps.

    Every ``decay_every`` steps it is multiplied by ``decay_rate``: GoogLeNet's "4 % every 8 epochs"
    is ``decay_rate=0.96`` (None: it stays). A fractional ``decay_every`` is the mean length of a
    step. A run shorter than the paper's (``train.paper_steps``) decays in proportionally shorter
    steps, so by the same total.
    """
    o, t = config.optimizer, config.train
    if o.decay_every is None:
        return o.lr
    every = o.decay_every * (t.steps / (t.paper_steps or t.steps) / o.decay_speed)
    return o.lr * o.decay_rate ** int((step - 1) / every)
