"""The commit of the code that trains a run: by the environment, by git, or by pip."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from bn_repro.records import paths

COMMIT = "BN_REPRO_COMMIT"
"""Names the commit where git cannot, as in a copy of the files; ``<commit>-dirty``: changed."""


def commit_of_code() -> tuple[str | None, bool | None]:
    """The commit and whether it was changed: what ``BN_REPRO_COMMIT`` says, else git.

    For a wheel, pip's record of its origin (PEP 610): git would find a repository around it. None
    where neither is known.
    """
    if said := os.environ.get(COMMIT):
        return said.removesuffix("-dirty"), said.endswith("-dirty")
    if paths.CHECKOUT is None:
        origin = _origin().get("vcs_info", {}).get("commit_id")
        return origin, None if origin is None else False

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not is_repository(paths.CHECKOUT):
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def is_repository(checkout: Path) -> bool:
    """Whether the checkout is a repository; an archive unpacked inside another one is none."""
    try:
        git = ["git", "rev-parse", "--show-toplevel"]
        done = subprocess.run(git, cwd=checkout, capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and Path(done.stdout.strip()).resolve() == checkout.resolve()


def _origin() -> dict[str, Any]:
    """What pip noted of where the package was installed from."""
    try:
        return json.loads(distribution("bn-repro").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return {}
