"""A study's ``correct.npz``: which images each run has right, at its last evaluation and its best.

One row a run, as ``Runs.correct`` has it. In the file the bits of all runs follow one another, run
by run, each run's in whole bytes.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from bn_repro.analysis.tables import CORRECT_COLUMNS
from bn_repro.records.errors import BadInput

BITS = CORRECT_COLUMNS[-4:]
WORDS = ("experiment", "id")


def read(path: Path) -> pd.DataFrame:
    """The rows of a file; none where there is no file. ``BadInput`` where it cannot be read."""
    if not path.exists():
        return pd.DataFrame(columns=CORRECT_COLUMNS)
    try:
        with open(path, "rb") as content, np.load(content) as file:
            found = {name: file[name] for name in CORRECT_COLUMNS}
        ends = np.cumsum((found["images"] + 7) // 8)
        columns = {
            name: np.split(v, ends[:-1]) if name in BITS else v.tolist()
            for name, v in found.items()
        }
        if any(len(found[name]) != ends[-1] for name in BITS):
            raise ValueError("its bits are not those of its images")
        return pd.DataFrame(columns)
    except (OSError, ValueError, KeyError, EOFError, IndexError, BadZipFile) as error:
        raise BadInput(f"{path}: not readable ({error}); restore it from git") from None


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write the rows where they have changed; no file where there are none.

    The file's members carry no time, so that equal rows give equal bytes.
    """
    if rows.empty:
        path.unlink(missing_ok=True)
        return
    arrays = _arrays(rows)
    if path.exists():
        before = _arrays(read(path))
        if all(np.array_equal(arrays[name], before[name]) for name in CORRECT_COLUMNS):
            return
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]


def _arrays(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate(rows[name].tolist())
        if name in BITS
        else np.array(rows[name].tolist(), dtype=str if name in WORDS else np.int64)
        for name in CORRECT_COLUMNS
    }
