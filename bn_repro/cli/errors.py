"""What was wrong with the input, in one line that says what to do."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bn_repro.cli import BAD_INPUT, COMPLETED, FAILED, PREEMPTED
from bn_repro.cli.overrides import not_understood, own_folder, several_values
from bn_repro.config import catalogue
from bn_repro.config.compose import near, no_such_key
from bn_repro.records.paths import extra_command, printable


def first_of(*codes: int) -> int:
    """One exit code for several runs: the first of 2, 1, 75 and 0 among theirs."""
    return next(code for code in (BAD_INPUT, FAILED, PREEMPTED, COMPLETED) if code in codes)


def refuse(error: Exception, code: int = BAD_INPUT, *, sweeps: bool = True) -> int:
    """Print what was wrong, in a script that ``sweeps`` or not; return the exit code."""
    if not (isinstance(error, BrokenPipeError) and _nobody_reads()):
        with suppress(OSError):  # the code says it too
            print(f"error: {printable(explain(error, sweeps))}", file=sys.stderr)
    return code


def _nobody_reads() -> bool:
    """Whether the output is a pipe whose reader has left, as ``head`` does."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # of errors alone
    except (AttributeError, OSError):  # closed, or no file
        return False
    return bool(poll.poll(0))


def explain(error: Exception, sweeps: bool = True) -> str:
    """An exception in one line; of Hydra's, with what was probably meant."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(error.missing_cfg_file, error.options or ())
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return no_such_key(cause.full_key)
    if isinstance(error, OverrideParseException):
        reason = next((x for x in lines[1:] if not x.startswith("See ")), "not understood")
        return not_understood(str(error.override), reason)
    if lines and lines[0].startswith("Ambiguous value"):
        return several_values(lines[0].split("'", 1)[1].rstrip("'"), sweeps)
    if lines and lines[0].startswith("Could not append to config"):
        return f"{lines[0].split(chr(39))[1]}: is there already; leave out the +"
    if isinstance(error, InstantiationException) and isinstance(cause, TypeError):
        return f"hydra.launcher: {str(cause).partition('__init__() ')[2]}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        reason = str(cause.msg or cause).splitlines()[0]
        if reason.endswith("is not Optional"):
            return f"{cause.full_key}: null, but it needs a value"
        return f"{cause.full_key}: {reason[:1].lower() + reason[1:]}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if not lines and isinstance(error, AssertionError):
        return "hydra: refused by an assertion of its own; --cfg hydra shows its settings"
    return " ".join(lines) or type(error).__name__


def _no_such_option(path: str, options: Iterable[str]) -> str:
    group, _, name = path.partition("/")
    if group == "hydra":
        kind, _, name = name.rpartition("/")
        group = f"hydra/{kind}"
        if f"{group}/{name}" == "hydra/sweeper/optuna":
            return f"{group}: no {name!r}; Optuna's sweeper needs {extra_command('optuna')}"
    known = list(options)
    if group in ("experiment", "study"):
        own = own_folder(sys.argv[1:])
        known = [*catalogue.names(group), *(catalogue.names(group, Path(own)) if own else ())]
    closest = near(name, known)
    meant = f" did you mean {closest}?" if closest else ""
    return f"{group}: no {name!r};{meant} there are {', '.join(known)}"
