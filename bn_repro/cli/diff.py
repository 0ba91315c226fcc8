"""Show what differs between two runs, or between two folders of seeds.

bn-repro diff A B

A and B are run directories (runs/<experiment>-<id>/seed0), or folders that hold seeds (the folder
above): configuration, data, commit, engine, machine and outcome are compared.
"""

from __future__ import annotations

import math
import sys
from statistics import median

from rich.markup import escape
from rich.table import Table

from bn_repro.analysis import compare
from bn_repro.records.paths import printable
from bn_repro.sweep.console import count_of, duration, log, new_console, print_table


def main() -> None:
    """Print a line for each difference, or that there is none."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    if len(arguments) != 2:
        raise ValueError("diff: give two run directories, or two folders of seeds; --help has more")
    a, b = map(compare.side, arguments)
    lines, shown = compare.differences(a, b), new_console()
    if not lines:
        runs = count_of(len(a.directories), "run")
        log(shown, f"equal: configuration, data, commit, engine, machine and outcome ({runs} each)")
        return
    for name, argument in zip("AB", arguments, strict=True):
        log(shown, f"{name}: {argument}")
    print_table(shown, table(lines, a, b))
    found = compare.accuracy_difference(a, b)
    if found is not None:
        low, high = 100 * found.low, 100 * found.high
        within = f" [{low:+.2f}, {high:+.2f}]" if math.isfinite(low) else ""
        seeds = count_of(found.n, "seed")
        log(shown, f"B - A in final accuracy: {100 * found.estimate:+.2f} points{within} ({seeds})")


def table(lines: list[compare.Line], a: compare.Side, b: compare.Side) -> Table:
    """The differences; and the time, which is not compared."""
    made = Table(box=None, pad_edge=False)
    for name in ("", "", "A", "B"):
        made.add_column(name, overflow="fold")
    took = [
        duration(median(outcome.seconds for outcome in side.outcomes.values())) for side in (a, b)
    ]
    before = ""
    for line in [*lines, compare.Line("time", "of a run", *took)]:
        kind = "" if line.kind == before else line.kind
        made.add_row(*(escape(printable(cell)) for cell in (kind, *line[1:])))
        before = line.kind
    return made
