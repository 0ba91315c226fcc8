"""List the experiments and studies: place in the paper, cost, command and verdicts.

python scripts/list.py
"""

import argparse

from bn_repro.config import catalogue
from bn_repro.sweep import display

if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    catalogue.show(display.console())
