"""The runs under a folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bn_repro.records.errors import BadInput


@dataclass(frozen=True)
class FoundRun:
    """A run directory, ``<root>/<experiment>-<id>/seed<k>/``."""

    experiment: str
    id: str
    seed: int
    directory: Path


def find_runs(root: str | Path, warnings: list[str] | None = None) -> list[FoundRun]:
    """Every run under ``root``, sorted by path; BadInput where there is none.

    Archived runs (``seed0.20260101-120000``) are left out, and so is a folder whose number no run
    is written with (``seed00``), with a line in ``warnings``.
    """
    root = Path(os.path.expanduser(root))
    runs = []
    for directory in sorted(root.rglob("seed*")):
        seed = re.fullmatch(r"seed(\d+)", directory.name)
        name = re.fullmatch(r"(.+)-([0-9a-z]+)", directory.parent.relative_to(root).as_posix())
        if not (seed and name and directory.is_dir()):
            continue
        if seed[1] != str(int(seed[1])):
            if warnings is not None:
                warnings.append(f"{directory}: not a run's folder (seed0, seed1, ...); left out")
        else:
            runs.append(FoundRun(name[1], name[2], int(seed[1]), directory))
    if not runs:
        raise BadInput(
            f"runs: no run directory under {root.absolute()}; expected <experiment>-<id>/seed<k>/ "
            "as bn-repro train writes them: train one first, or give another folder with runs=..."
        )
    return runs
