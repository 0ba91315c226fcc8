"""How often each "95 %" interval covers the truth, simulated, into results/coverage; a few minutes.

python scripts/coverage.py
"""

from bn_repro.analysis import coverage
from bn_repro.cli.entry import exit_with
from bn_repro.records.paths import RESULTS


def main() -> None:
    """Simulate, write, and say where."""
    print(*coverage.write(RESULTS / "coverage"), sep="\n")


if __name__ == "__main__":
    exit_with(main)
