"""JSON files that may be torn by a kill, or not JSON at all: read whole, as they grow, or the tail.

What cannot be read is :class:`Unreadable`, one line with the path and the fix; a tail leaves it
out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bn_repro.records.errors import START_OVER, Unreadable

Row = dict[str, Any]

TAIL_BYTES = 65_536
"""The end of a record that a status display reads: hundreds of rows."""


def read_object(path: Path, fix: str = START_OVER) -> Row | None:
    """The JSON object in a file; None where there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not readable as JSON ({error}); {fix}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{path}: expected a JSON object; {fix}")
    return value


def checked(
    path: Path, value: Row, kinds: Mapping[str, tuple[type, ...]], fix: str = "", what: str = ""
) -> Row:
    """``value``, if its keys have the types in ``kinds``, else Unreadable; a bool is no number."""
    for key, allowed in kinds.items():
        if key in value and type(value[key]) not in allowed:
            found = json.dumps(value[key], default=str)[:40]
            raise Unreadable(f"{path}: {what}{key} cannot be {found}{fix and f'; {fix}'}")
    return value


def read_rows(path: Path, warnings: list[str] | None = None, *, fix: str = START_OVER) -> list[Row]:
    """The rows of a JSON-lines file, each with its ``step``; none where there is no file.

    A torn last line, as a kill leaves it, is dropped, with a line in ``warnings``; a torn line
    elsewhere makes the file Unreadable.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Unreadable(f"{path}: not readable ({error.strerror}); {fix}") from None
    return _rows_of(path, content, warnings, fix)


def _rows_of(
    path: Path, content: bytes, warnings: list[str] | None = None, fix: str = START_OVER
) -> list[Row]:
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    try:  # one call for the file: several times faster
        rows = json.loads(b"[" + b",\n".join(lines) + b"]")
        if len(rows) != len(lines):  # a row in two lines, or two in one
            raise ValueError
    except (ValueError, RecursionError):
        rows = _line_by_line(path, lines, warnings, fix)
    wrong = next((n for n, row in enumerate(rows, start=1) if not _is_row(row)), None)
    if wrong is not None:
        what = "expected a JSON object with a whole step on each line"
        raise Unreadable(f"{path}: {what}, which line {wrong} is not; {fix}")
    return rows


def _line_by_line(
    path: Path, lines: Sequence[bytes], warnings: list[str] | None, fix: str
) -> list[Row]:
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise Unreadable(f"{path}: line {number} is not JSON; {fix}") from None
            if warnings is not None:
                warnings.append(f"{path}: the last line is torn, as by a kill; it is dropped")
    return rows


class Tail:
    """The rows of a JSON-lines file that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def new_rows(self) -> list[Row]:
        """The rows whose lines have come to their end since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return _rows_of(self.path, whole)


def read_tail(path: Path, length: int = TAIL_BYTES) -> list[Row]:
    """The rows within the last ``length`` bytes of a JSON-lines file, cheaply, for a display.

    Lines that are cut, or still being written, are left out, and so is a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            lines = file.read().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        rows += [row] if _is_row(row) else []
    return rows


def _is_row(value: Any) -> bool:
    return (  # written out: there are hundreds of thousands of traces
        type(value) is dict
        and type(step := value.get("step")) is int
        and 0 <= step < 2**63
        and type(value.get("split", "")) is str
        and type(value.get("statistics", "")) is str
        and type(value.get("site", "")) is str
    )


def number(value: Any) -> float:
    """A recorded number; NaN for null, and for what is no number."""
    return float(value) if isinstance(value, int | float) else math.nan
