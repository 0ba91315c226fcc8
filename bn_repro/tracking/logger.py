"""A run directory shown in W&B: the rows that W&B does not have yet are sent.

A run there is a function of the local records: a row becomes the series that ``keys.py`` names, and
the rows of one step become one row. So a run that is logged while it trains and one that is sent
later are the same. Each time it begins with the first record: online W&B says which step it
has last, and only later ones are sent; offline a new file, of the whole run, takes the place of the
one before. So no row comes twice, and none is left out. ``published.json`` in the run directory
says what has been sent.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.files import write_json
from bn_repro.records.reader import FINISHED, read_config, read_manifest, read_object, read_rows
from bn_repro.tracking.keys import History, summary_of

TAG_LENGTH = 64
INIT_SECONDS, FINISH_SECONDS = 30.0, 60.0
"""How long to wait for W&B; what is not sent by then can be published later."""
FILES = (
    *(paths.CONFIG, paths.MANIFEST, paths.STATUS),
    *(paths.METRICS, paths.TRACES, paths.TIMING, paths.EVALUATION),
)
"""The records that W&B is given of a finished run, where they are there."""


@dataclass(frozen=True)
class Destination:
    """Where runs are sent: ``mode`` is disabled, offline or online; W&B's own files lie in
    ``folder``."""

    mode: str
    project: str
    entity: str | None
    folder: Path

    @property
    def sync_command(self) -> str:
        """What sends offline runs to W&B."""
        return f"wandb sync {self.folder / 'wandb'}"


def destination_of(config: Config) -> Destination:
    """Where a configuration has its runs sent."""
    w = config.wandb
    return Destination(w.mode, w.project, w.entity, Path(w.dir or config.runs))


class CannotSend(ValueError):
    """A run that cannot be sent: one line with the reason."""


# --- what W&B has ---------------------------------------------------------------------------------


def sent(directory: Path, mode: str) -> dict[str, Any]:
    """What W&B was sent of a run in a mode: ``project, entity, tags``, ``where`` it is (null until
    that is known), and a digest of the ``records`` (null until all are sent)."""
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
    all_sent = records == [destination.project, destination.entity, _digest(directory)]
    return all_sent and set(tags) <= set(found["tags"])


def is_synced(directory: Path) -> bool:
    """Whether an offline file has been synced, or is gone, as after ``wandb clean``."""
    where = sent(directory, "offline").get("where")
    return where is not None and (not Path(where).is_dir() or any(Path(where).glob("*.sync*")))


def _files(directory: Path) -> list[Path]:
    return [path for path in (directory / name for name in FILES) if path.exists()]


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(directory):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


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


# --- a run of W&B's -------------------------------------------------------------------------------


def begin(destination: Destination, run_id: str, *, live: bool = False, **what: Any) -> Any:
    """The W&B run of this id, begun or gone on with; ``what`` goes to ``wandb.init``.

    Offline, a file of the same run is removed: the new one will hold all of it. ``live`` runs log
    how their machine is doing. Raises ValueError without an API key, and whatever W&B raises.
    """
    import wandb  # takes a second, and most runs do without

    # What artifacts copy before they are sent lies with the rest, not in the user's home.
    folder = destination.folder
    os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").absolute()))
    wandb.setup(wandb.Settings(silent=True))
    # Left to itself, wandb.init() would ask for a key in the terminal, and wait.
    if destination.mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ValueError("no API key; log in with: wandb login")
    folder.mkdir(parents=True, exist_ok=True)
    if destination.mode == "offline":
        for before in offline_folders(destination, run_id):
            shutil.rmtree(before, ignore_errors=True)
    return wandb.init(
        **what,
        project=destination.project,
        entity=destination.entity,
        dir=str(folder),
        mode=destination.mode,  # pyright: ignore[reportArgumentType]
        id=run_id,
        resume="allow" if destination.mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(
            silent=True,
            console="off",  # it would write over the progress bars
            disable_git=True,  # the manifest says which commit a run was made with
            save_code=False,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            x_disable_stats=not live,
            x_disable_meta=not live,
        ),
    )


def service_of_wandb() -> subprocess.Popen[bytes] | None:
    """The process that W&B has begun here to do its work; None where there is none."""
    setup = sys.modules.get("wandb.sdk.wandb_setup")
    try:  # there is no public way to it, and no way that takes none of W&B's locks
        return setup._singleton._connection._proc._process  # pyright: ignore
    except AttributeError:
        return None


def _check_service() -> None:
    service = service_of_wandb()
    if service is not None and service.poll() is not None:
        raise ConnectionError("W&B's own process has ended")


def offline_folders(destination: Destination, run_id: str) -> list[Path]:
    """The folders of offline runs of this id."""
    name = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}")
    folders = (destination.folder / "wandb").glob("offline-run-*")
    return [folder for folder in folders if name.fullmatch(folder.name)]


class Mirror:
    """A run directory shown in W&B at ``destination``, under ``tags``.

    ``arm`` is what the run shares with its other seeds: a dashboard draws a line for each. A
    ``live`` run is one that still trains, whose machine is watched. Every method raises what W&B
    raises, and :class:`CannotSend` where an offline file of this run has left our hands (`wandb
    sync` would append the new one to it, all rows again; ``force`` lets it).
    """

    def __init__(
        self,
        directory: Path,
        destination: Destination,
        tags: Sequence[str] = (),
        arm: str = "",
        *,
        live: bool = False,
        force: bool = False,
    ) -> None:
        self.directory, self.destination = directory, destination
        self.tags, self.arm = list(tags), arm
        self.live, self.force = live, force
        self.run: Any = None
        self._history = History(directory)

    def begin(self) -> None:
        """Open the W&B run, and send the rows that the records hold already."""
        directory, offline = self.directory, self.destination.mode == "offline"
        if offline and is_synced(directory) and not self.force:
            raise CannotSend(
                f"{directory}: W&B has some of this run by `wandb sync`, and a file "
                f"cannot go on from there; publish the rest with wandb=online"
            )
        run_id = wandb_id(directory)
        config, manifest = read_config(directory), read_manifest(directory)
        try:
            steps, _ = list(self._history.steps()), summary_of(directory)  # which finish() sends
        except (ValueError, KeyError) as error:
            raise CannotSend(f"{directory}: not a run's records ({first_line(error)})") from error
        arm = self.arm or config["experiment"]
        made = {key: value for key, value in manifest.items() if key != "resumed"}
        if offline:  # its file goes; a kill until there is a new one is no loss
            self._mark(where=None)
        self.run = begin(
            self.destination,
            run_id,
            live=self.live,
            name=f"{arm} seed {config['seed']}",
            group=config["experiment"],
            job_type="train",
            tags=[tag[:TAG_LENGTH] for tag in self.tags],
            config={**config, "arm": arm, "manifest": made},
        )
        self._mark(where=self._where())
        self.run.define_metric("step", hidden=True)
        for name in ("train*", "val*", "test*", "timing/*"):
            self.run.define_metric(name, step_metric="step")
        self.run.define_metric("trace/*", step_metric="step", summary="none")
        self._send(steps)

    def follow(self) -> None:
        """Send the steps that have been recorded whole since the last time."""
        _check_service()
        self._send(self._history.steps())

    def finish(self, state: str) -> None:
        """Send the rest, and close with the run's summary; a finished run leaves its records as an
        artifact."""
        where = self._where()
        try:
            self._send(self._history.steps(all_of_them=True))
            self.run.summary.update({**summary_of(self.directory), "state": state})
            if state in FINISHED:
                self.run.log_artifact(self._records())
            elif state == "preempted":
                self.run.mark_preempting()
        finally:
            self.run.finish(exit_code=int(state not in FINISHED))
        _check_service()  # without it W&B takes everything, and says nothing
        if state in FINISHED:
            self._mark(where=where, records=_digest(self.directory))

    def _send(self, steps: Iterable[tuple[int, dict[str, float]]]) -> None:
        for step, values in steps:
            # W&B may have rows that a resume cut back here, too; they are the same ones again.
            if step >= self.run.starting_step:
                self.run.log({"step": step, **values}, step=step, commit=True)

    def _records(self) -> Any:
        import wandb

        records = wandb.Artifact(self.run.id, type="records")
        for path in _files(self.directory):
            records.add_file(str(path))
        rows = read_rows(self.directory / paths.METRICS)
        columns: list[Any] = list(dict.fromkeys(key for row in rows for key in row))
        data: list[Any] = [[row.get(key) for key in columns] for row in rows]
        records.add(wandb.Table(columns=columns, data=data, allow_mixed_types=True), "metrics")
        return records

    def _where(self) -> str:
        return self.run.url or str(Path(self.run.dir).parent.absolute())

    def _mark(self, *, where: str | None, records: str | None = None) -> None:
        """Remember that sending was begun, or that all ``records`` are sent."""
        mark = {
            "project": self.destination.project,
            "entity": self.destination.entity,
            "tags": self.tags,
            "where": where,
            "records": records,
        }
        others = {mode: sent(self.directory, mode) for mode in ("offline", "online")}
        marks = others | {self.destination.mode: mark}
        marks = {mode: kept for mode, kept in marks.items() if kept}
        write_json(self.directory / paths.PUBLISHED, marks)


def first_line(error: Exception) -> str:
    """An error's first line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
