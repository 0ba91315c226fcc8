"""Overrides as they are typed: prepared for Hydra, and a wrong one refused with its mended form."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.types import ChoiceSweep, Glob, RangeSweep
from hydra.errors import HydraException

from bn_repro.config import catalogue
from bn_repro.config.compose import GROUPS, no_such_key, parsed, quoted
from bn_repro.config.schema import MANY, SETTINGS

MULTIRUN = {"-m", "--multirun"}
CONFIG_DIR_FLAGS = ("--config-dir", "-cd")
PLAIN = re.compile(r"[\w/\\+.$%*@?|: \t-]", re.ASCII)
"""A character that Hydra takes without quotes."""
NUMBER = re.compile(r"(?i:true|false|[+-]?(?:inf|nan|[\d.][\w.+-]*))", re.ASCII)
"""What Hydra may take for a number, and change: a folder ``2026.10`` would be ``2026.1``."""
KEY = re.compile(r"\+{0,2}[\w$][\w.@/:$-]*", re.ASCII)


def for_hydra(arguments: list[str]) -> list[str]:
    """The arguments as Hydra takes them, ``-m`` first.

    ValueError for one that Hydra would misread, and for a sweep of more than MANY runs.
    """
    arguments = resumed(arguments) if os.environ.get("WANDB_SWEEP_ID") else arguments
    made = [_prepared(argument) for argument in sorted(arguments, key=lambda a: a not in MULTIRUN)]
    if MULTIRUN & set(made):
        count = math.prod(filter(None, map(_swept, made)))
        if count > MANY:
            raise ValueError(f"-m: {count:,} runs; at most {MANY:,} at once")
    return made


def _swept(argument: str) -> int:
    """How many values ``argument`` sweeps; 0 where it does not, or Hydra will say what is wrong."""
    try:
        override = parsed([argument])[0]
        values = override.value() if override.is_sweep_override() else None
    except (HydraException, ValueError):
        return 0
    if isinstance(values, RangeSweep):
        span = (values.stop or 0) - (values.start or 0)
        return math.ceil(span / values.step) if values.step else 0
    return len(values.list) if isinstance(values, ChoiceSweep) else 0


def resumed(arguments: list[str]) -> list[str]:
    """The arguments of a W&B agent without those that only describe the run.

    It starts a preempted run again with all that the run logged as its configuration, in Python's
    notation (``tracking.logger.flat``): texts have no quotes, ``arm`` and ``manifest`` are no keys.
    """
    if not any(word.startswith("arm=") for word in arguments):
        return arguments  # a first start has only the sweep's own
    described = ("arm=", "manifest.", "_wandb")
    return [_as_typed(word) for word in arguments if not word.startswith(described)]


def _as_typed(argument: str) -> str:
    key, _, value = argument.partition("=")
    plain = key in GROUPS or value == "None" or key not in SETTINGS or _kind(key) != "text"
    return argument if plain else f"{key}={quoted(value)}"


def own_folder(arguments: Sequence[str]) -> str | None:
    """The folder of the user's own configurations, which ``--config-dir`` names."""
    for number, argument in enumerate(arguments, start=1):
        flag, equals, value = argument.partition("=")
        if flag in CONFIG_DIR_FLAGS:
            return value if equals else next(iter(arguments[number:]), None)
    return None


def _prepared(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key in CONFIG_DIR_FLAGS:  # a shell expands no ~ behind a =
        return f"{key}={os.path.expanduser(value)}" if equals else argument
    if argument.startswith("~"):
        parsed([argument])
    if key.startswith("-") and (name := key.lstrip("-")) in SETTINGS:
        raise ValueError(f"{argument}: keys have no dashes; give {name}={value or '...'}")
    if value == "None":  # as W&B writes null
        argument, value = f"{key}=null", "null"
    at_home = value == "~" or value.startswith("~/")  # which a shell leaves as it is behind a =
    if at_home or (key in SETTINGS and _kind(key) == "text" and NUMBER.fullmatch(value)):
        argument = f"{key}={quoted(value)}"
    if key in GROUPS and value.startswith("["):  # Hydra would lay them over one another
        raise ValueError(f"{argument}: a list; give one name, or several by commas, with -m")
    if key in GROUPS and equals and value in ("null", "", "???"):
        raise ValueError(f"{key}: no name given; leave {key}= out, or give a name")
    return _matching(argument) if argument.startswith("experiment=glob(") else argument


def _matching(argument: str) -> str:
    """``experiment=glob(mnist/*)`` as the experiments that match, which Hydra's glob does not see.

    Hydra looks for options in a group's own folder alone; experiments lie a folder deeper. Raises
    ValueError where none matches.
    """
    pattern = parsed([argument])[0].value()
    assert isinstance(pattern, Glob)
    names = pattern.filter(catalogue.names("experiment"))
    if not names:
        raise ValueError(f"{argument}: matches none of {', '.join(catalogue.names('experiment'))}")
    return f"experiment={','.join(names)}"


def not_understood(argument: str, reason: str) -> str:
    """Why Hydra's grammar does not take ``argument``; its own ``reason`` counts for a function."""
    key, equals, value = argument.partition("=")
    if not equals:
        group = next((g for g in ("experiment", "study") if argument in catalogue.names(g)), None)
        meant = f"; did you mean {group}={argument}?" if group else ""
        return f"{argument or 'an empty argument'}: expected key=value{meant}"
    if not KEY.fullmatch(key):
        return no_such_key(key)
    kind = _kind(key)
    function = re.match(r"\w+\(", value)
    if kind == "other" or (function and "Unknown function" not in reason):
        return f"{argument}: {reason if function else 'not understood'}"
    usual = "[], " if kind == "texts" else ""
    odd = next((c for c in value if not PLAIN.fullmatch(c) and c not in usual), None)
    wrong = f"{odd!r} needs quotes" if odd else "not understood"
    return f"{argument}: {wrong}; give {_to_paste(key, value)}"


def several_values(argument: str, sweeps: bool) -> str:
    """What to do about ``seed=0,1``, in a script that ``sweeps`` or not."""
    key, _, value = argument.partition("=")
    kind = _kind(key)
    if kind == "texts" or key == "model.hidden":
        return f"{argument}: several values; give a list as {key}=[{value}]"
    each = "add -m to try each" if sweeps else "this script takes one"
    ruled = key not in SETTINGS or SETTINGS[key].field.metadata["rule"] is not None
    free = kind == "text" and key not in GROUPS and not ruled
    comma = f"; with a comma in it, give {_to_paste(key, value)}" if free else ""
    return f"{argument}: several values; {each}{comma}"


def _kind(key: str) -> str:
    """``text``, also for what is no key of ours, ``texts`` for a list of them, or ``other``."""
    kind = str(SETTINGS[key].field.type) if key in SETTINGS else "str"
    if "list[str]" in kind or kind.endswith("Any"):
        return "texts"
    return "text" if "str" in kind else "other"


def _to_paste(key: str, value: str) -> str:
    if _kind(key) == "texts":
        inner = (quoted(text.strip()) for text in value.strip("[]").split(","))
        return shlex.quote(f"{key}=[{','.join(inner)}]")
    return shlex.quote(f"{key}={quoted(value)}")
