"""A run of W&B's: begun without a question, waited for within a limit, and without litter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bn_repro.config.fields import unless_set
from bn_repro.records.commit import is_repository
from bn_repro.records.paths import CHECKOUT
from bn_repro.tracking.sent import Destination, is_synced, sent

INIT_SECONDS, FINISH_SECONDS = 30.0, 60.0
"""How long to wait for W&B; what is not sent by then can be published later."""


def begin(
    destination: Destination,
    run_id: str,
    *,
    live: bool = False,
    commit: str | None = None,
    **what: Any,
) -> Any:
    """The W&B run of this id, begun or gone on with; ``what`` goes to ``wandb.init``.

    Offline, a file of the same run is removed: the new one will hold all of it. ``live`` runs log
    how their machine is doing. ``commit`` is the one that the run was made with. Raises ValueError
    without an API key, and whatever W&B raises.
    """
    import wandb  # takes a second, and most runs do without

    folder = destination.folder
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
            disable_git=True,  # the manifest has the commit
            git_commit=commit,
            git_remote_url=repository() if commit else None,
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


def offline_folders(destination: Destination, run_id: str) -> list[Path]:
    """The folders of offline runs of this id."""
    folders = (destination.folder / "wandb").glob("offline-run-*")
    return [folder for folder in folders if _is_offline(folder, run_id)]


def _is_offline(folder: Path, run_id: str) -> bool:
    return re.fullmatch(rf"offline-run-\d+_\d+-{re.escape(run_id)}", folder.name) is not None


def remove_unsynced(directory: Path, destination: Destination, run_id: str) -> None:
    """Remove the offline file of the run in ``directory`` for the same project, wherever it was
    begun; of two files `wandb sync` would send each row twice."""
    mark = sent(directory, "offline")
    where, of = mark.get("where"), (mark.get("project"), mark.get("entity"))
    same = of == (destination.project, destination.entity) and not is_synced(directory)
    if where is not None and same and _is_offline(Path(where), run_id):
        shutil.rmtree(where, ignore_errors=True)


def repository() -> str | None:
    """Where the checkout was cloned from, without a name or a password; None where there is none,
    and where that is no address on a network."""
    if CHECKOUT is None or not is_repository(CHECKOUT):
        return None
    git = ["git", "config", "--get", "remote.origin.url"]
    try:
        done = subprocess.run(git, cwd=CHECKOUT, capture_output=True, text=True)
    except OSError:
        return None
    url = done.stdout.strip()
    if re.fullmatch(r"[\w.-]+@[\w.-]+:[^:]+", url):  # git@host:owner/name
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)) if host else None


def artifacts_of(run: Any) -> AbstractContextManager[None]:
    """What artifacts copy before they are sent lies in the run's own folder, and goes with it; not
    in the user's home. A ``WANDB_DATA_DIR`` of the user's is kept to."""
    return unless_set("WANDB_DATA_DIR", str(folder_of(run)))


def folder_of(run: Any) -> Path:
    """Where W&B keeps the files of a run."""
    return Path(run.dir).parent.absolute()


def remove_copies(folder: Path) -> None:
    """Remove what the artifacts of an online run copied into its folder, once they are sent."""
    shutil.rmtree(folder / "artifacts", ignore_errors=True)


def check_service() -> None:
    """ConnectionError where W&B's own process has ended: it takes everything then, and sends
    nothing."""
    service = service_of_wandb()
    if service is not None and service.poll() is not None:
        raise ConnectionError("W&B's own process has ended")
