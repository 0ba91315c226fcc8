"""Whether every study's template says what the committed verdicts are; ``make lint`` runs it."""

from bn_repro.cli.entry import exit_with
from bn_repro.cli.report import contradicted_prose


def main() -> int:
    """Print what does not agree; 1 where something does not."""
    lines = contradicted_prose()
    print("\n".join(lines) or "The studies' templates agree with the committed verdicts")
    return int(bool(lines))


if __name__ == "__main__":
    exit_with(main)
