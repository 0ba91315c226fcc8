"""Whether a run has anything left to do: answered from its records, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bn_repro.config.dataset import MnistBinaryConfig, SyntheticConfig
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.reader import Outcome, copy_warning, finished, read_config, read_manifest

if TYPE_CHECKING:
    from bn_repro.data.batches import Data


def find_finished(config: Config) -> Outcome | None:
    """The outcome of this configuration's run; None where it is not finished.

    ValueError for a copy of another run, and for a run on other data. Data in the same folder count
    as the same; data elsewhere are read and compared.
    """
    directory = directory_of(config)
    check_no_copy(directory)
    done = finished(directory)
    has_files = not isinstance(config.data, MnistBinaryConfig | SyntheticConfig)
    if done is not None and has_files and _data_root(directory) != config.data.root:
        from bn_repro.training.build import data_of  # torch: only other data need it

        check_same_data(directory, data_of(config))
    return done


def check_no_copy(directory: Path) -> None:
    """ValueError where the files in ``directory`` are another run's."""
    copy = copy_warning(directory)
    if copy:
        raise ValueError(f"{copy}; move it away, or start over with force=true")


def _data_root(directory: Path) -> str | None:
    try:
        return read_config(directory)["data"]["root"]
    except (Unreadable, KeyError, TypeError):
        return None


def check_same_data(
    directory: Path, data: Data, fix: str = "bring the data back, or start over with force=true"
) -> None:
    """ValueError, naming both, where the run in ``directory`` was begun on other data."""
    before = _begun_on(directory)
    if before not in (None, data.fingerprint):
        raise ValueError(
            f"{directory}: the run was begun on data {before[:16]}, but {data.name} is now "
            f"{data.fingerprint[:16]}; {fix}"
        )


def _begun_on(directory: Path) -> str | None:
    """The fingerprint of a run's data, by its manifest, or else by its last checkpoint."""
    try:
        said = read_manifest(directory).get("data")
    except Unreadable:  # it is begun anew, with a line
        said = None
    if said is None and (directory / paths.CHECKPOINTS).is_dir():
        from bn_repro.training.checkpoint import load_latest  # torch: only a lost manifest needs it

        said = (load_latest(directory / paths.CHECKPOINTS, log=lambda line: None) or {}).get("data")
    return said


def finished_line(config: Config, directory: Path, done: Outcome) -> str:
    """What a command says of a run that was finished before."""
    without = ", without the probes asked for" if lacks_probes(config, directory) else ""
    line = f"{directory}: already {done.state} at step {done.step}{without}"
    return f"{line} (force=true starts over)"


def lacks_probes(config: Config, directory: Path) -> bool:
    """Whether a run has none of ``train.probes``, which are no part of its identity."""
    return bool(config.train.probes) and not (directory / paths.PROBES).exists()
