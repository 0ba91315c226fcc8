"""List the experiments and studies: place in the paper, cost, command and verdicts.

bn-repro list
"""

from __future__ import annotations

import argparse

from bn_repro.config import catalogue
from bn_repro.sweep.console import new_console, print_table


def main() -> None:
    """Print them."""
    about = (__doc__ or "").splitlines()[0]
    argparse.ArgumentParser(prog="bn-repro list", description=about).parse_args()
    console = new_console()
    for table in catalogue.tables():
        print_table(console, table)
