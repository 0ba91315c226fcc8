"""The door of every script: on one side what the user typed, on the other a task and its exit code.

Hydra composes; what it refuses is told in one line. Torch, which takes seconds to import, waits
until a task begins: ``--help``, a Tab and a misspelled key do without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bn_repro.cli.errors import COMPLETED, FAILED, PREEMPTED, refuse
from bn_repro.config import catalogue
from bn_repro.config.compose import plain
from bn_repro.records.paths import CONFIGS

FULL_ERROR = "HYDRA_FULL_ERROR"

exit_code = COMPLETED
"""Of the process: Hydra swallows what a task returns, and must see no exit inside a sweep."""

last_words: Callable[[], None] | None = None
"""Said once Hydra is done: a sweep may come in batches, and its table is one."""


def main(module: str, *, sweeps: bool = False) -> NoReturn:
    """Compose the command line's configuration and exit with what ``bn_repro.<module>.main`` makes
    of it.

    ``-m`` is for a script that ``sweeps``: Hydra gives the jobs to a launcher, which trains.
    """
    global exit_code, last_words
    exit_code, last_words = COMPLETED, None
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(catalogue.help_text(Path(sys.argv[0]).stem))
        sys.exit(COMPLETED)
    if not sweeps and {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit(refuse(ValueError("-m: sweeps are for train.py; give study=... to this script")))

    def guarded(composed: DictConfig) -> None:
        global exit_code
        try:
            task = import_module(f"bn_repro.cli.{module}").main
            exit_code = task(plain(composed, words()))
        except (HydraException, OmegaConfBaseException) as error:  # from a study's compositions
            exit_code = refuse(error, FAILED)
        except ValueError as error:
            exit_code = refuse(error)
        except OSError as error:
            exit_code = refuse(error, FAILED)
        except KeyboardInterrupt:
            exit_code = PREEMPTED

    complete(sys.argv[1:])
    try:
        sys.argv[1:] = [expanded(word) for word in sys.argv[1:]]
        run = hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")
        with _hydra_raises():
            run(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        if FULL_ERROR in os.environ:
            raise
        exit_code = refuse(error, FAILED)
    except ValueError as error:  # of a sweeper
        exit_code = refuse(error)
    except KeyboardInterrupt:
        exit_code = exit_code or PREEMPTED
    if last_words is not None:
        last_words()
    sys.exit(exit_code)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Hydra's refusals as exceptions, by the switch that it has for the purpose of a full trace."""
    if FULL_ERROR in os.environ:
        yield
        return
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        del os.environ[FULL_ERROR]


def words() -> list[str]:
    """The overrides as the user typed them."""
    return list(HydraConfig.get().overrides.task)


def expanded(word: str) -> str:
    """``experiment=glob(mnist/*)`` as the experiments that match, which Hydra's glob does not see.

    Hydra looks for options in a group's own folder alone; experiments lie a folder deeper. Raises
    ValueError where none matches.
    """
    if not word.startswith("experiment=glob("):
        return word
    pattern = OverridesParser.create().parse_override(word).value()
    assert isinstance(pattern, Glob)
    found = pattern.filter(catalogue.names("experiment"))
    if not found:
        raise ValueError(f"{word}: matches none of {', '.join(catalogue.names('experiment'))}")
    return f"experiment={','.join(found)}"


def complete(typed: list[str]) -> None:
    """Answer a Tab after ``experiment=``; Hydra's own completion does not see folders in groups."""
    shell = next((word for word in typed if word.startswith("query=")), None)
    line = os.environ.get("COMP_LINE", "")
    if shell is None or line.endswith(" ") or not {"-sc", "--shell-completion"} & set(typed):
        return
    word = line.split()[-1]
    if word.startswith("experiment="):
        options = (f"experiment={name}" for name in catalogue.names("experiment"))
        found = [option for option in options if option.startswith(word)]
        print(("\n" if shell == "query=fish" else " ").join(found))
        sys.exit(COMPLETED)
