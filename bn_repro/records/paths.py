"""Where a run lies, the names of its files, and the split it is monitored on.

A run is ``<runs>/<experiment>-<id>/seed<k>/``. Its lock, which keeps two processes from training
one run, lies beside the directory, so it stays when the directory is archived.
"""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = None if (PACKAGE / "configs").is_dir() else PACKAGE.parent
"""The checkout that the package is imported from; None where it was installed as a wheel."""
CONFIGS, RESULTS = ((CHECKOUT or PACKAGE) / name for name in ("configs", "results"))
"""Those of the checkout. The wheel has all of ``configs/``, and of ``results/`` what a list of runs
and verdicts needs: ``runs.csv`` and ``claims.json``."""

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
STATUS = "status.json"
METRICS = "metrics.jsonl"
TRACES = "traces.jsonl"
TIMING = "timing.jsonl"
PROBES = "probes.jsonl"
HISTOGRAMS = "histograms.jsonl"
CORRECT = "correct.npz"
CHECKPOINTS = "checkpoints"
TRACEBACK = "traceback.txt"
EVALUATION = "evaluation.jsonl"
PREDICTIONS = "predictions"
WEIGHTS = "weights.safetensors"
PUBLISHED, EVENTS = "published.json", "tensorboard"
"""What W&B has been sent of a run, and the folder of its event files; not among its records."""


def extra_command(name: str) -> str:
    """What installs an optional part of the package."""
    if CHECKOUT is None:
        return f"pip install 'bn-repro[{name}]'"
    return f"pip install -e '.[{name}]'"


def printable(text: str) -> str:
    """The text on one line, with what a terminal would obey or cannot show escaped: a file's name
    may hold it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def cache_folder() -> Path:
    """Where decoded and downloaded images are kept; ValueError where a user has no home folder."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        raise ValueError(
            "XDG_CACHE_HOME: not set, and there is no home folder for a cache; set it, or give "
            "data.cache=... (of MNIST data.root=...)"
        ) from None
    return home / "bn_repro"


def monitored_split(splits: Container[str]) -> str:
    """The split that a run is monitored on, and judged by: val where there is one, else test."""
    return "val" if "val" in splits else "test"


def run_directory(runs: str | Path, experiment: str, run_id: str, seed: int) -> Path:
    """``<runs>/<experiment>-<id>/seed<k>``; a slash in the experiment makes a folder per family."""
    return Path(runs) / f"{experiment}-{run_id}" / f"seed{seed}"


def lock_file(directory: Path) -> Path:
    """The lock of the run in ``directory``."""
    return directory.with_name(directory.name + ".lock")


def predictions_file(directory: Path, crops: int, statistics: str) -> Path:
    """Where an evaluation's class probabilities are: ``predictions/144-moving.npz``."""
    return directory / PREDICTIONS / f"{crops}-{statistics}.npz"
