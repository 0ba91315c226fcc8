"""What commands print: lines and tables, in a terminal or a log; durations, shares and counts."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bn_repro.records.paths import printable


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 05 min``."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02} min"


def percent(fraction: float | None) -> str:
    """``97.6 %``, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def count_of(number: int, noun: str) -> str:
    """``1 run``, ``20 runs``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def new_console() -> Console:
    """A terminal of its own width; 200 columns in a log."""
    found = Console()
    return found if found.is_terminal else Console(width=200)


def log(console: Console, line: str) -> None:
    """Print a line as it is: not wrapped, without markup; nothing in it acts on the terminal."""
    console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def print_table(console: Console, table: Table) -> None:
    """Print a table, in a log without the blanks at the ends of its lines."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        log(console, line.rstrip())
