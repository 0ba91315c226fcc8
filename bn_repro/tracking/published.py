"""A run directory as W&B is to see it, and what W&B has been sent of it (``published.json``)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.files import write_atomically
from bn_repro.records.reader import read_config, read_manifest
from bn_repro.tracking.keys import history, summary_of

FILES = (
    *(paths.CONFIG, paths.MANIFEST, paths.STATUS),
    *(paths.METRICS, paths.TRACES, paths.TIMING, paths.EVALUATION),
)
"""The records that W&B is given of a finished run, where they are there."""


@dataclass(frozen=True)
class Place:
    """Where runs are shown: ``mode`` is offline or online, W&B's own files lie in ``folder``."""

    mode: str
    project: str
    entity: str | None
    folder: Path


def destination_of(config: Config) -> Place:
    """Where W&B's copies of runs go."""
    w = config.wandb
    return Place(w.mode, w.project, w.entity, Path(w.dir or config.runs))


class Refused(ValueError):
    """A run that cannot be sent, with the line that says why."""


@dataclass(frozen=True)
class Local:
    """What a run directory tells of its run."""

    directory: Path
    id: str
    """Its id in W&B, ``mnist-bn-1a2b3c4d-seed0-20261120090508``: ours, and when it was begun, since
    a run that is started over is another one, and W&B keeps what it has."""
    config: dict[str, Any]
    manifest: dict[str, Any]
    summary: dict[str, Any]
    history: list[tuple[int, dict[str, float]]]

    @staticmethod
    def read(directory: Path) -> Local:
        """The run in ``directory``; :class:`Refused` where a file is missing or damaged."""
        try:
            config, manifest = read_config(directory), read_manifest(directory)
            family = config["experiment"].split("/")[:-1]
            begun = re.sub(r"\D", "", manifest["started"])
            name = "-".join([*family, directory.parent.name, directory.name, begun])
            summary, rows = summary_of(directory), list(history(directory))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"{directory}: not a run's records ({line_of(error)})") from error
        return Local(directory, name, config, manifest, summary, rows)

    def files(self) -> list[Path]:
        """The records that are there."""
        return [path for path in (self.directory / name for name in FILES) if path.exists()]

    def marks(self) -> dict[str, Any]:
        """What W&B has been sent, by mode: ``project, entity, tags``, ``where`` it is, and a digest
        of the ``records``, null while they are not sent whole."""
        try:
            return json.loads((self.directory / paths.PUBLISHED).read_text())
        except (OSError, ValueError):
            return {}

    def tags(self, place: Place) -> list[str]:
        """The tags that the run was shown with before."""
        return self.marks().get(place.mode, {}).get("tags", [])

    def mark(self, place: Place, tags: Sequence[str], where: str | None, *, whole: bool) -> None:
        """Remember that sending was begun (``where``, once that is known), or that all is sent."""
        mark = {
            "project": place.project,
            "entity": place.entity,
            "tags": list(tags),
            "where": where,
            "records": self.digest() if whole else None,
        }
        content = json.dumps({**self.marks(), place.mode: mark}, indent=2) + "\n"
        write_atomically(self.directory / paths.PUBLISHED, content.encode())

    def is_sent(self, place: Place, tags: Sequence[str] = ()) -> bool:
        """Whether all that the records hold now has been sent, with these tags."""
        mark = self.marks().get(place.mode, {})
        sent = [mark.get(key) for key in ("project", "entity", "records")]
        return sent == [place.project, place.entity, self.digest()] and set(tags) <= {*mark["tags"]}

    def is_out_of_hand(self) -> bool:
        """Whether an offline file has been synced, or is gone, as after ``wandb clean``."""
        where = self.marks().get("offline", {}).get("where")
        return where is not None and (not Path(where).is_dir() or any(Path(where).glob("*.sync*")))

    def digest(self) -> str:
        """Of the records, as they are now."""
        digest = hashlib.sha256()
        for path in self.files():
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def line_of(error: Exception) -> str:
    """An error's first line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
