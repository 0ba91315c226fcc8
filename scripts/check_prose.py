"""Whether every study's template says what the committed verdicts are; ``make lint`` runs it."""

import sys

from bn_repro.cli.report import unfit_prose

if __name__ == "__main__":
    lines = unfit_prose()
    print("\n".join(lines) or "The studies' templates agree with the committed verdicts")
    sys.exit(bool(lines))
