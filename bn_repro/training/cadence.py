"""What is due at a step: log, trace, evaluate, save."""

from __future__ import annotations

import math
from typing import NamedTuple

from bn_repro.config.schema import TrainConfig
from bn_repro.training.session import Session


class Due(NamedTuple):
    """What is to be done at a step. ``sync``: look at the losses and the stop flag."""

    trace: bool
    log: bool
    evaluate: bool
    save: bool
    sync: bool


class Cadence:
    """What is due at which step, by ``train.*_every``; the last step logs, evaluates and saves."""

    def __init__(self, config: TrainConfig, session: Session) -> None:
        self.config = config
        # To look at a loss is to wait for the GPU and for the other ranks.
        waits = session.device.type != "cpu" or session.world.size > 1
        self.sync_every = config.log_every if waits else 1

    def at(self, step: int) -> Due:
        """What is due at ``step``, counted from 1."""
        c, last = self.config, step == self.config.steps
        trace = is_due(step, every=c.trace_every, dense=c.trace_dense)
        evaluate = last or is_due(step, every=c.eval_every, dense=c.eval_dense)
        save = last or step % c.checkpoint_every == 0
        sync = trace or evaluate or save or step % self.sync_every == 0
        return Due(trace, last or step % c.log_every == 0, evaluate, save, sync)


def is_due(step: int, *, every: int, dense: int) -> bool:
    """Whether ``step``, from 1, is due: 1 to 9 and then 18 a decade, up to ``dense``; then every
    ``every``-th, with 0 none."""
    if step <= dense:
        return step % max(1, 10 ** math.floor(math.log10(step)) // 2) == 0
    return every > 0 and step % every == 0
