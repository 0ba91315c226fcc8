"""Finished local records shown at any later time, in W&B or TensorBoard; and a study's report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from bn_repro.analysis import results
from bn_repro.config.identity import arm_of, at_scale, tags_of
from bn_repro.config.schema import Config, check_logger
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.reader import Outcome, copy_warning, finished, read_config
from bn_repro.tracking.logger import TAG_LENGTH, RunUpload, model_name, shortened
from bn_repro.tracking.sent import (
    CannotSend,
    Destination,
    destination_of,
    first_line,
    is_sent,
    sent,
    tensorboard_command,
    wandb_id,
)
from bn_repro.tracking.series import summary_of
from bn_repro.tracking.tensorboard import EventFile
from bn_repro.tracking.wandb_run import (
    artifacts_of,
    begin,
    folder_of,
    offline_folders,
    remove_copies,
)


def publish_all(config: Config, directories: Sequence[Path], log: Callable[[str], None]) -> bool:
    """Send the finished runs among the ``directories`` to W&B, write their event files, or both.

    A run that has been sent whole is not sent again, except with ``force``; one whose sending was
    cut short is made whole. False where a finished run had to be left out. Raises ValueError where
    nothing is finished, OSError where W&B cannot be reached.
    """
    destination, whole = destination_of(config), True
    if destination.mode == "disabled" and config.logger == "none":
        raise ValueError(
            "wandb: give wandb=online, or wandb=offline and send with `wandb sync`; or give "
            "logger=tensorboard, which needs no account"
        )
    if config.logger == "tensorboard":
        check_logger(config)
        whole = not _each(directories, write_events, "tensorboard", log)["left out"]
        log(f"To look: {tensorboard_command(config.runs)}")
    if destination.mode != "disabled":
        send = partial(publish, config=config, destination=destination)
        count = _each(directories, send, "wandb", log)
        whole = whole and not count["left out"]
        if destination.mode == "offline" and count["sent"]:
            log(f"To W&B: {destination.sync_command}")
    return whole


def _each(
    directories: Sequence[Path], send: Callable[[Path], str], where: str, log: Callable[[str], None]
) -> Counter[str]:
    """Have each run sent; how many came to what."""
    count: Counter[str] = Counter()
    for directory in directories:
        try:
            came = send(directory)
        except (CannotSend, Timeout) as error:
            came = "left out"
            busy = f"{directory}: another process works on this run"
            reason = busy if isinstance(error, Timeout) else str(error)
            log(f"{reason}; {came}")
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else OSError
            done = sum(count[came] for came in ("sent", "written", "there already"))
            raise kind(
                f"{where}: {first_line(error)}; {done} of "
                f"{len(directories)} runs are done, and the same command goes on from there"
            ) from error
        if came == "sent":
            log(f"{directory}: sent")
        count[came] += 1
    if count["not finished"] == len(directories):
        one = len(directories) == 1
        what = f"{directories[0]}" if one else f"each of {len(directories)} runs"
        raise ValueError(
            f"nothing to publish: {what} is not finished; "
            f"finish it with bn-repro train and the same overrides"
        )
    counts = ", ".join(f"{number} {came}" for came, number in count.items())
    log(f"{len(directories)} runs: {counts}")
    return count


def write_events(directory: Path) -> str:
    """Write one run's event files anew; what came of it, as of :func:`publish`."""
    done = _finished(directory)
    if done is None:
        return "not finished"
    with FileLock(paths.lock_file(directory), timeout=0):
        try:
            shown = EventFile(directory)
            shown.begin()
            shown.finish(done.state)
        except Unreadable as error:
            raise CannotSend(str(error)) from error
    return "written"


def publish(directory: Path, config: Config, destination: Destination) -> str:
    """Send one run; what came of it: ``sent``, ``there already`` or ``not finished``.

    Raises CannotSend for a run that cannot be sent, Timeout while it trains, and what W&B raises.
    """
    done = _finished(directory)
    if done is None:
        return "not finished"
    with FileLock(paths.lock_file(directory), timeout=0):
        try:
            made = read_config(directory)
            own, arm = tags_of(made), arm_of(made)
        except (ValueError, LookupError, TypeError) as error:
            raise CannotSend(f"{directory}: not a run's records ({error})") from error
        study = [config.study.name] if config.study.name else []
        before = sent(directory, destination.mode).get("tags", [])
        tags = list(dict.fromkeys([*own, *config.wandb.tags, *study, *before]))
        if not config.force and is_sent(directory, destination, tags):
            return "there already"
        upload = RunUpload(directory, destination, tags, arm, force=config.force)
        upload.begin()
        upload.close(done.state)
        if destination.mode == "online" and destination.log_model == "final":
            _show_evaluation(directory, destination, arm, tags)
        upload.mark_sent()
    return "sent"


def _show_evaluation(directory: Path, destination: Destination, arm: str, tags: list[str]) -> None:
    """What ``bn-repro evaluate`` measured, where it did, as a W&B run that used the network.

    So W&B's lineage leads from the network's training to its evaluation. Offline W&B has no way to
    say what a run used; the run's own summary has these numbers too.
    """
    values = {k: v for k, v in summary_of(directory).items() if k.startswith("evaluation/")}
    if not values or not (directory / paths.WEIGHTS).exists():
        return
    trained = wandb_id(directory)
    run = begin(
        destination,
        f"{trained}-evaluation",
        name=shortened(f"{arm} {directory.name}, evaluation", directory.parent.name),
        group=shortened(arm, directory.parent.name),
        job_type="evaluate",
        tags=[tag[:TAG_LENGTH] for tag in tags],
        config={"arm": arm, "trained": trained},
    )
    try:
        run.use_artifact(f"{model_name(trained)}:final")
        run.summary.update(values)
    finally:
        run.finish()


def _finished(directory: Path) -> Outcome | None:
    if copy := copy_warning(directory):
        raise CannotSend(copy)
    try:
        return finished(directory)
    except ValueError as error:
        raise CannotSend(str(error)) from error


def publish_report(config: Config, study: str, folder: Path) -> None:
    """The figures and tables of a study, as a W&B run of their own, where W&B is asked for.

    Trouble there is one line; the report in ``folder`` is whole.
    """
    destination = destination_of(config)
    if destination.mode == "disabled":
        return
    try:
        _report(destination, study, at_scale(study, config.scale), folder, config.wandb.tags)
    except Exception as error:
        line = first_line(error)
        print(f"wandb: {line}; the report in {folder} is complete", file=sys.stderr)


def _report(
    destination: Destination, study: str, group: str, folder: Path, tags: Sequence[str]
) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files))
    name = f"report-{study}-{digest.hexdigest()[:8]}"
    before = offline_folders(destination, name) if destination.mode == "offline" else []
    if any(list(path.glob("*.sync*")) for path in before):
        return  # the same report has been sent
    run = begin(
        destination,
        name,
        name=f"{group}, report",
        group=group,
        job_type="report",
        tags=[study, *tags],
        config={"study": study},
    )
    try:
        if not run.summary.get("whole"):
            _log_report(run, study, folder, files)
            run.summary.update({"whole": True})
    finally:
        copies = folder_of(run)
        run.finish()
    if destination.mode == "online":
        remove_copies(copies)


def _log_report(run: Any, study: str, folder: Path, files: Sequence[Path]) -> None:
    import wandb

    claims: list[dict[str, Any]] = json.loads((folder / results.CLAIMS).read_text())
    runs = pd.read_csv(folder / results.RUNS, dtype={"id": str})
    logged: dict[str, Any] = {
        "tables/claims": wandb.Table(dataframe=pd.DataFrame(claims).astype(str)),
        "tables/runs": wandb.Table(dataframe=runs.astype(object).where(runs.notna(), None)),
    }
    for path in files:
        if path.suffix == ".png":
            logged[f"figures/{path.stem}"] = wandb.Image(str(path))
    run.log(logged)
    run.summary.update({f"claim/{claim['id']}": claim["verdict"] for claim in claims})
    artifact = wandb.Artifact(f"report-{study}", type="report")
    with artifacts_of(run):
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)
