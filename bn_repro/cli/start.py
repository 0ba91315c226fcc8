"""How a command begins: signal handlers stand before Hydra and torch are imported."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from typing import NoReturn

from bn_repro.cli import PLAIN, PREEMPTED
from bn_repro.stop_signal import StopFlag


def start(module: str) -> NoReturn:
    """Hand the command line to ``bn_repro.cli.<module>``, its configuration composed.

    In ``train`` a signal sets the stop flag, which the run looks at after each step, and before its
    first; anything else is interrupted by Ctrl-C at once.
    """
    trains = module == "train"
    try:
        with StopFlag().listening() if trains else nullcontext():
            if module in PLAIN:
                from bn_repro.cli.entry import exit_with

                exit_with(import_module(f"bn_repro.cli.{module}").main)
            from bn_repro.cli.main import main

            main(module, sweeps=trains)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(PREEMPTED)
