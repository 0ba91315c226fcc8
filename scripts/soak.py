"""Kill, stop and signal runs at random and at every write, and compare what they end with.

python scripts/soak.py                             about 10 minutes on two cores
python scripts/soak.py --kills 20 --stride 10      a taste
"""

from __future__ import annotations

import sys
from pathlib import Path

from bn_repro.cli.entry import exit_with


def main() -> int:
    """The soak lies with the tests, whose helpers it uses."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from soak import main as soak

    return soak()


if __name__ == "__main__":
    exit_with(main)
