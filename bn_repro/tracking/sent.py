"""Where runs are sent, and what of a run W&B has been sent: ``published.json`` in its directory."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.json_files import read_object
from bn_repro.records.reader import read_config, read_manifest

FILES = (
    *(paths.CONFIG, paths.MANIFEST, paths.STATUS, paths.METRICS, paths.TRACES, paths.HISTOGRAMS),
    *(paths.PROBES, paths.TIMING, paths.CORRECT, paths.EVALUATION),
)
"""The records that W&B is given of a finished run, where they are there."""


@dataclass(frozen=True)
class Destination:
    """Where runs are sent: ``mode`` is disabled, offline or online; W&B's own files lie in
    ``folder``. ``log_model`` is none or final: whether a run's network goes with it."""

    mode: str
    project: str
    entity: str | None
    folder: Path
    log_model: str = "none"

    @property
    def sync_command(self) -> str:
        """What sends offline runs to W&B."""
        return shlex.join(["wandb", "sync", str(self.folder / "wandb")])


def tensorboard_command(runs: str) -> str:
    """What shows the event files of the runs in a folder."""
    return shlex.join(["tensorboard", "--logdir", runs])


def destination_of(config: Config) -> Destination:
    """Where a configuration has its runs sent."""
    w = config.wandb
    return Destination(w.mode, w.project, w.entity, Path(w.dir or config.runs), w.log_model)


class CannotSend(ValueError):
    """A run that cannot be sent: one line with the reason."""


def sent(directory: Path, mode: str) -> dict[str, Any]:
    """What W&B was sent of a run in a mode: ``project, entity, tags``, ``where`` it is (null until
    that is known), a digest of the ``records`` (null until all are sent), and whether the
    ``model`` went with them."""
    try:
        found = (read_object(directory / paths.PUBLISHED) or {}).get(mode)
    except ValueError:
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("tags"), list):
        return {}
    return found if isinstance(found.get("where"), str | None) else {}


def is_sent(directory: Path, destination: Destination, tags: Sequence[str] = ()) -> bool:
    """Whether W&B has all that the records hold now, with these tags."""
    found = sent(directory, destination.mode)
    records = [found.get(key) for key in ("project", "entity", "records")]
    all_sent = records == [destination.project, destination.entity, digest(directory)]
    wanted = destination.log_model == "final" and (directory / paths.WEIGHTS).exists()
    all_sent = all_sent and (not wanted or found.get("model") is True)
    return all_sent and set(tags) <= set(found["tags"])


def is_synced(directory: Path) -> bool:
    """Whether an offline file has been synced, or is gone, as after ``wandb clean``."""
    where = sent(directory, "offline").get("where")
    return where is not None and (not Path(where).is_dir() or any(Path(where).glob("*.sync*")))


def files(directory: Path) -> list[Path]:
    """The records of a run that W&B is given."""
    return [path for path in (directory / name for name in FILES) if path.exists()]


def digest(directory: Path) -> str:
    """Of the records as they are now."""
    content = hashlib.sha256()
    for path in files(directory):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def wandb_id(directory: Path) -> str:
    """A run's id in W&B, ``mnist-bn-1a2b3c4d-seed0-20261120090508``: its directory, and when it was
    begun, since a run that is started over is another one, and W&B keeps what it has.

    :class:`CannotSend` where a file is missing or damaged.
    """
    try:
        family = read_config(directory)["experiment"].split("/")[:-1]
        begun = re.sub(r"\D", "", read_manifest(directory)["started"])
    except (ValueError, KeyError, TypeError) as error:
        raise CannotSend(f"{directory}: not a run's records ({first_line(error)})") from error
    return "-".join([*family, directory.parent.name, directory.name, begun])


def first_line(error: Exception) -> str:
    """An error's first line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
