"""The words of a command line: what ours mean beyond Hydra's grammar, and what is wrong with one
that it does not take, with the form to paste."""

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
OWN_FOLDER = ("--config-dir", "-cd")
PLAIN = re.compile(r"[\w/\\+.$%*@?|: \t-]", re.ASCII)
"""A character that Hydra takes without quotes."""
NUMBER = re.compile(r"(?i:true|false|[+-]?(?:inf|nan|[\d.][\w.+-]*))", re.ASCII)
"""What Hydra may take for a number, and change: a folder ``2026.10`` would be ``2026.1``."""
KEY = re.compile(r"\+{0,2}[\w$][\w.@/:$-]*", re.ASCII)


def prepared(words: list[str]) -> list[str]:
    """The words as Hydra takes them, ``-m`` first, wherever it stands. ValueError for one that it
    would take for something else than was meant, and for more runs than it could count."""
    words = resumed(words) if os.environ.get("WANDB_SWEEP_ID") else words
    made = [_prepared(word) for word in sorted(words, key=lambda word: word not in MULTIRUN)]
    if MULTIRUN & set(made):
        count = math.prod(filter(None, map(_swept, made)))
        if count > MANY:
            raise ValueError(f"-m: {count:,} runs; at most {MANY:,} at once")
    return made


def _swept(word: str) -> int:
    """How many values ``word`` sweeps; 0 where it does not, or Hydra will say what is wrong."""
    try:
        override = parsed([word])[0]
        values = override.value() if override.is_sweep_override() else None
    except (HydraException, ValueError):
        return 0
    if isinstance(values, RangeSweep):
        span = (values.stop or 0) - (values.start or 0)
        return math.ceil(span / values.step) if values.step else 0
    return len(values.list) if isinstance(values, ChoiceSweep) else 0


def resumed(words: list[str]) -> list[str]:
    """The words of a W&B agent without those that only describe the run.

    It starts a preempted run again with all that the run logged as its configuration
    (``tracking.logger.flat``),
    in Python's notation: texts have no quotes, and ``arm`` and ``manifest`` are no keys.
    """
    keys = [word.partition("=")[0] for word in words]
    if "arm" not in keys:  # a first start: with the sweep's own words alone
        return words
    described = [key == "arm" or key.startswith(("manifest.", "_wandb")) for key in keys]
    return [_as_typed(word) for word, only in zip(words, described, strict=True) if not only]


def _as_typed(word: str) -> str:
    key, _, value = word.partition("=")
    plain = key in GROUPS or value == "None" or key not in SETTINGS or _kind(key) != "text"
    return word if plain else f"{key}={quoted(value)}"


def own_folder(words: Sequence[str]) -> str | None:
    """The folder of the user's own configurations, which ``--config-dir`` names."""
    for number, word in enumerate(words, start=1):
        flag, equals, value = word.partition("=")
        if flag in OWN_FOLDER:
            return value if equals else next(iter(words[number:]), None)
    return None


def _prepared(word: str) -> str:
    key, equals, value = word.partition("=")
    if key in OWN_FOLDER:  # a shell expands no ~ behind a =
        return f"{key}={os.path.expanduser(value)}" if equals else word
    if word.startswith("~"):
        parsed([word])
    if key.startswith("-") and (name := key.lstrip("-")) in SETTINGS:
        raise ValueError(f"{word}: keys have no dashes; give {name}={value or '...'}")
    if value == "None":  # as W&B writes null
        word, value = f"{key}=null", "null"
    at_home = value == "~" or value.startswith("~/")  # which a shell leaves as it is behind a =
    if at_home or (key in SETTINGS and _kind(key) == "text" and NUMBER.fullmatch(value)):
        word = f"{key}={quoted(value)}"
    if key in GROUPS and value.startswith("["):  # Hydra would lay them over one another
        raise ValueError(f"{word}: a list; give one name, or several by commas, with -m")
    if key in GROUPS and equals and value in ("null", "", "???"):
        raise ValueError(f"{key}: no name given; leave {key}= out, or give one of them")
    return _matching(word) if word.startswith("experiment=glob(") else word


def _matching(word: str) -> str:
    """``experiment=glob(mnist/*)`` as the experiments that match, which Hydra's glob does not see.

    Hydra looks for options in a group's own folder alone; experiments lie a folder deeper. Raises
    ValueError where none matches.
    """
    pattern = parsed([word])[0].value()
    assert isinstance(pattern, Glob)
    names = pattern.filter(catalogue.names("experiment"))
    if not names:
        raise ValueError(f"{word}: matches none of {', '.join(catalogue.names('experiment'))}")
    return f"experiment={','.join(names)}"


def not_understood(word: str, reason: str) -> str:
    """Why Hydra's grammar does not take ``word``; its own ``reason`` counts for a function."""
    key, equals, value = word.partition("=")
    if not equals:
        group = next((g for g in ("experiment", "study") if word in catalogue.names(g)), None)
        meant = f"; did you mean {group}={word}?" if group else ""
        return f"{word or 'an empty word'}: expected key=value{meant}"
    if not KEY.fullmatch(key):
        return no_such_key(key)
    kind = _kind(key)
    function = re.match(r"\w+\(", value)
    if kind == "other" or (function and "Unknown function" not in reason):
        return f"{word}: {reason if function else 'not understood'}"
    usual = "[], " if kind == "texts" else ""
    odd = next((c for c in value if not PLAIN.fullmatch(c) and c not in usual), None)
    wrong = f"{odd!r} needs quotes" if odd else "not understood"
    return f"{word}: {wrong}; give {_to_paste(key, value)}"


def several_values(word: str, sweeps: bool) -> str:
    """What to do about ``seed=0,1``, in a script that ``sweeps`` or not."""
    key, _, value = word.partition("=")
    kind = _kind(key)
    if kind == "texts" or key == "model.hidden":
        return f"{word}: several values; give a list as {key}=[{value}]"
    each = "add -m to try each" if sweeps else "this script takes one"
    ruled = key not in SETTINGS or SETTINGS[key].field.metadata["rule"] is not None
    free = kind == "text" and key not in GROUPS and not ruled
    comma = f"; with a comma in it, give {_to_paste(key, value)}" if free else ""
    return f"{word}: several values; {each}{comma}"


def _kind(key: str) -> str:
    """``text``, also for what is no key of ours, ``texts`` for a list of them, or ``other``."""
    kind = str(SETTINGS[key].field.type) if key in SETTINGS else "str"
    return (
        "texts"
        if "list[str]" in kind or kind.endswith("Any")
        else "text"
        if "str" in kind
        else "other"
    )


def _to_paste(key: str, value: str) -> str:
    if _kind(key) == "texts":
        inner = (quoted(word.strip()) for word in value.strip("[]").split(","))
        return shlex.quote(f"{key}=[{','.join(inner)}]")
    return shlex.quote(f"{key}={quoted(value)}")
