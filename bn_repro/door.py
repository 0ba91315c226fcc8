"""The door of every script: on one side what the user typed, on the other a task and its exit code.

Hydra composes; what it refuses is told in one line. Torch, which takes seconds to import, waits
until a task begins: ``--help``, a Tab and a misspelled key do without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bn_repro import catalogue
from bn_repro.compose import CONFIGS, plain
from bn_repro.config import Config

COMPLETED, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75
FULL_ERROR = "HYDRA_FULL_ERROR"

exit_code = COMPLETED
"""Of the process: Hydra swallows what a task returns, and must see no exit inside a sweep."""

last_words: Callable[[], None] | None = None
"""Said once Hydra is done: a sweep may come in batches, and its table is one."""

OmegaConf.register_new_resolver("catalogue", catalogue.listing)  # for configs/hydra/help


def main(module: str, *, sweeps: bool = False) -> NoReturn:
    """Compose the command line's configuration and exit with what ``bn_repro.<module>.main`` makes
    of it.

    ``-m`` is for a script that ``sweeps``: Hydra gives the jobs to a launcher, which trains.
    """
    global exit_code, last_words
    exit_code, last_words = COMPLETED, None
    if not sweeps and {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit(refuse(ValueError("-m: sweeps are for train.py; give study=... to this script")))

    def guarded(composed: DictConfig) -> None:
        global exit_code
        try:
            task = import_module(f"bn_repro.{module}").main
            exit_code = task(plain(composed))
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


def refuse(error: Exception, code: int = BAD_INPUT) -> int:
    """Tell what was wrong with the input."""
    print(f"error: {explain(error)}", file=sys.stderr)
    return code


def words() -> list[str]:
    """The overrides as the user typed them."""
    return list(HydraConfig.get().overrides.task)


def explain(error: Exception) -> str:
    """An exception in one line; of Hydra's, with what was probably meant."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(error.missing_cfg_file, error.options or ())
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return _no_such_key(cause.full_key)
    if isinstance(error, OverrideParseException):
        reason = next((x for x in lines[1:] if not x.startswith("See ")), "not understood")
        return f"{error.override}: expected key=value ({reason})"
    if lines and lines[0].startswith("Ambiguous value"):
        word = lines[0].split("'", 1)[1].rstrip("'")
        key, _, value = word.partition("=")
        return f"{word}: several values; add -m to try each, or give a list as {key}=[{value}]"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        said = str(cause.msg or cause).splitlines()[0]
        return f"{cause.full_key}: {said[:1].lower() + said[1:]}"
    return " ".join(lines) if isinstance(error, HydraException) else str(error)


def _no_such_option(path: str, options: Iterable[str]) -> str:
    group, _, name = path.partition("/")
    if group == "hydra":
        kind, _, name = name.rpartition("/")
        group = f"hydra/{kind}"
        if f"{group}/{name}" == "hydra/sweeper/optuna":
            return f"{group}: no {name!r}; Optuna's sweeper needs pip install -e '.[optuna]'"
    known = catalogue.names(group) if group in ("experiment", "study") else list(options)
    near = _near(name, known)
    meant = f" did you mean {near}?" if near else ""
    return f"{group}: no {name!r};{meant} there are {', '.join(known)}"


def _no_such_key(key: str) -> str:
    known = list(_keys(Config()))
    section, dot, name = key.rpartition(".")
    inside = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section]
    if dot and inside:
        near = _near(name, inside)
        hint = f"did you mean {section}.{near}?" if near else f"{section} has {', '.join(inside)}"
        return f"{key}: no such key; {hint}"
    near = _near(key, known) or next((k for k in known if k.endswith(f".{name}")), None)
    meant = f" did you mean {near}?" if near else ""
    return f"{key}: no such key;{meant} --help tells the main ones, --cfg job all"


def _near(word: str, known: list[str]) -> str | None:
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.7)), None)


def _keys(part: object, prefix: str = "") -> Iterator[str]:
    for f in fields(part):  # pyright: ignore[reportArgumentType]
        value = getattr(part, f.name)
        if is_dataclass(value):
            yield from _keys(value, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}"


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
