"""The entry point of every script: an error that a user can mend is one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from subprocess import CalledProcessError
from typing import NoReturn

from bn_repro.cli import COMPLETED, FAILED, PREEMPTED
from bn_repro.cli.errors import refuse


def exit_with(script: Callable[[], int | None]) -> NoReturn:
    """Call ``script``, and exit with what it returns.

    Output that nobody reads any more, as before ``| head``, ends it without a word; that of a full
    disk is an error like another.
    """
    try:
        _require_working_directory()
        code = script() or COMPLETED
        if sys.stdout is not None:  # None: it was closed
            sys.stdout.flush()
    except ValueError as error:
        code = refuse(error)
    except (OSError, CalledProcessError) as error:
        code = refuse(error, FAILED)
    except KeyboardInterrupt:
        code = PREEMPTED
    _give_up_what_cannot_be_written()
    sys.exit(code)


def _require_working_directory() -> None:
    try:
        os.getcwd()
    except OSError:
        raise ValueError("the current folder was deleted; cd to one that is there") from None


def _give_up_what_cannot_be_written() -> None:
    """Else Python tries it again at its exit, and shows that it fails."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
