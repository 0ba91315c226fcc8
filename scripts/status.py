"""Follow the runs of a study, or all under the runs directory: a line to each, with a bar.

python scripts/status.py study=fig1
"""

from contextlib import suppress
from typing import Any

from bn_repro import door, progress, watch
from bn_repro.compose import plain


def follow(composed: Any) -> int:
    """The task: Ctrl-C ends it, and is no failure."""
    with suppress(KeyboardInterrupt):
        watch.show(plain(composed), door.words(), progress.console())
    return door.COMPLETED


if __name__ == "__main__":
    door.main(follow)
