"""How a script begins: signal handlers stand before Hydra and torch are imported."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import NoReturn

from bn_repro.stop_signal import StopFlag

PREEMPTED = 75
"""The exit code of what was asked to stop, here before ``cli/errors.py`` can be imported."""


def start(module: str, *, trains: bool = False) -> NoReturn:
    """Hand the command line to ``bn_repro.cli.main``, for ``bn_repro.cli.<module>``.

    With ``trains`` a signal sets the stop flag, which the run looks at after each step, and before
    its first; anything else is interrupted by Ctrl-C at once.
    """
    try:
        with StopFlag().listening() if trains else nullcontext():
            from bn_repro.cli.main import main

            main(module, sweeps=trains)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(PREEMPTED)
