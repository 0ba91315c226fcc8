"""What was wrong with the input, in one line that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bn_repro.config import catalogue
from bn_repro.config.schema import SETTINGS

COMPLETED, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75
"""Exit codes."""


def first_of(*codes: int) -> int:
    """One exit code for several runs: the first of 2, 1, 75 and 0 among theirs."""
    return next(code for code in (BAD_INPUT, FAILED, PREEMPTED, COMPLETED) if code in codes)


def refuse(error: Exception, code: int = BAD_INPUT) -> int:
    """Print what was wrong; return the exit code."""
    print(f"error: {explain(error)}", file=sys.stderr)
    return code


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
        reason = str(cause.msg or cause).splitlines()[0]
        return f"{cause.full_key}: {reason[:1].lower() + reason[1:]}"
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
    known = list(SETTINGS)
    section, dot, name = key.rpartition(".")
    inside = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section]
    if dot and inside:
        near = _near(name, inside)
        hint = f"did you mean {section}.{near}?" if near else f"{section} has {', '.join(inside)}"
        return f"{key}: no such key; {hint}"
    near = _near(key, known) or next((k for k in known if k.endswith(f".{name}")), None)
    meant = f" did you mean {near}?" if near else ""
    return f"{key}: no such key;{meant} --help lists the main ones, --cfg job all"


def _near(word: str, known: list[str]) -> str | None:
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.7)), None)
