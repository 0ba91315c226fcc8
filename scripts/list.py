"""List the experiments and studies: place in the paper, cost, command and verdicts.

python scripts/list.py
"""

import argparse

from bn_repro.cli.door import through
from bn_repro.config import catalogue
from bn_repro.sweep import display


def main() -> None:
    """Print them."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    console = display.console()
    for table in catalogue.tables():
        display.print_table(console, table)


if __name__ == "__main__":
    through(main)
