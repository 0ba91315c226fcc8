"""What is due at a step, as a pure function of the step."""

from __future__ import annotations

import math


def is_due(step: int, *, every: int, dense: int) -> bool:
    """Whether ``step``, from 1, is due: 18 a decade up to ``dense``, then every ``every``-th."""
    if step <= dense:
        return step % max(1, 10 ** math.floor(math.log10(step)) // 2) == 0
    return every > 0 and step % every == 0
