"""How a key is declared: its default, its help, its rule, whether it is part of the identity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple


class Rule(NamedTuple):
    """What a value must be, as a test and in words."""

    holds: Callable[[Any], bool]
    expected: str


def number(low: int, high: int = 10**9) -> Rule:
    """A whole number from ``low`` to ``high``."""
    return Rule(
        lambda value: type(value) is int and low <= value <= high,
        f"a whole number from {low} to {high:,}",
    )


FLOAT32 = 2.0**-126, 2.0**128
"""Networks compute in it: a smaller number is 0, a larger one infinite."""
POSITIVE = Rule(lambda value: FLOAT32[0] <= value < FLOAT32[1], "positive (in float32)")
SHARE = Rule(lambda value: 0 <= value < 1, "in [0, 1)")
SEED = Rule(lambda value: 0 <= value < 2**63, "0 or more, and below 2**63")


def one_of(*known: Any) -> Rule:
    """One of the values ``known``."""
    return Rule(lambda value: value in known, f"one of {', '.join(map(str, known))}")


def setting(
    default: Any,
    text: str,
    rule: Rule | None = None,
    *,
    identity: bool = True,
    path: bool = False,
    variable: bool = False,
) -> Any:
    """A field with its help text and its rule, which null passes where it is the default.

    A tuple stands for a list.

    ``identity=False``: it does not change what is computed, and is no part of the run's identity.
    ``path=True``: a folder; ``~`` stands for the home folder. ``variable=True``: where it is not
    typed, an environment variable gives it (:func:`variable_of`).
    """
    metadata = {"help": text, "rule": rule, "identity": identity, "path": path}
    metadata["variable"] = variable
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def variable_of(key: str) -> str:
    """The environment variable that gives a key: BN_REPRO_DATA_ROOT for ``data.root``."""
    return f"BN_REPRO_{key.upper().replace('.', '_')}"


def from_environment(key: str) -> str | None:
    """What the environment says of a key; None for nothing, which an empty variable is too."""
    return os.environ.get(variable_of(key)) or None


@contextmanager
def unless_set(variable: str, value: str) -> Iterator[None]:
    """Within: the environment variable has this value, unless the user has given it another."""
    if variable in os.environ:
        yield
        return
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]


class Setting(NamedTuple):
    """A key of the configuration: its dotted name, its field, its value, whether it identifies."""

    key: str
    field: Field[Any]
    value: Any
    identity: bool

    @property
    def default(self) -> Any:
        """The field's own default."""
        made = self.field.default_factory
        return self.field.default if made is MISSING else made()


def settings(part: Any, prefix: str = "", identity: bool = True) -> Iterator[Setting]:
    """All keys of a configuration or of one of its sections, in order."""
    for f in fields(part):
        value = getattr(part, f.name)
        counts = identity and f.metadata.get("identity", True)
        if is_dataclass(value):
            yield from settings(value, f"{prefix}{f.name}.", counts)
        else:
            yield Setting(f"{prefix}{f.name}", f, value, counts)


def expanded(key: str, folder: str) -> str:
    """The path that ``key`` was given, with the home folder for ``~``; ValueError for none."""
    if not folder.strip():
        raise ValueError(f"{key}: {folder!r} is no folder; give one, or . for the current one")
    path = os.path.expanduser(folder)
    if path.startswith("~"):
        raise ValueError(
            f"{key}: {folder}: no such home folder; a folder of that name is ./{folder}"
        )
    return path


@dataclass
class Section:
    """Checks each of its fields by the field's own rule, and expands those that are paths."""

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            key, value = f"{self.prefix}{f.name}", getattr(self, f.name)
            if f.metadata.get("path") and value is not None:
                setattr(self, f.name, expanded(key, value))
            if value == "None":
                raise ValueError(f"{key}: {value!r} is a text; give null, or leave {key} out")
            rule = f.metadata.get("rule")
            if rule is None or (value is None and f.default is None):
                continue
            if value is None or not rule.holds(value):
                null = ", or null" if f.default is None else ""
                raise ValueError(f"{key}: {value!r} is not {rule.expected}{null}")

    def idle(self, key: str, other: str, *values: str) -> None:
        """ValueError where ``key`` is set and ``other`` has a value with which it has no effect."""
        own, usual, value = getattr(self, key), getattr(type(self), key), getattr(self, other)
        if value in values and own != usual:
            raise ValueError(
                f"{self.prefix}{key}: has no effect where {self.prefix}{other} is {value!r}; "
                f"leave it at {usual!r}, not {own!r}"
            )
