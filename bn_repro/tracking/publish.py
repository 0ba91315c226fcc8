"""Finished local records sent to Weights & Biases at any later time, and a study's report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console

from bn_repro.analysis import results
from bn_repro.config.identity import arm_of, at_scale, tags_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.reader import finished, read_config, told_as_copy
from bn_repro.tracking.logger import (
    CannotSend,
    Destination,
    Mirror,
    begin,
    destination_of,
    first_line,
    is_sent,
    offline_folders,
    sent,
)


def publish_all(config: Config, directories: Sequence[Path], console: Console) -> bool:
    """Send the finished runs among the ``directories``.

    A run that has been sent whole is not sent again, except with ``force``; one whose sending was
    cut short is made whole. False where a finished run had to be left out. Raises ValueError where
    nothing is finished, OSError where W&B cannot be reached.
    """
    destination = destination_of(config)
    if destination.mode == "disabled":
        raise ValueError("wandb: give wandb=online, or wandb=offline and send with `wandb sync`")
    count: Counter[str] = Counter()
    for directory in directories:
        try:
            came = publish(directory, config, destination)
        except (CannotSend, Timeout) as error:
            came = "left out"
            busy = f"{directory}: another process works on this run"
            reason = busy if isinstance(error, Timeout) else str(error)
            console.print(f"{reason}; {came}", soft_wrap=True, highlight=False)
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else OSError
            raise kind(
                f"wandb: {first_line(error)}; {count['sent']} of {len(directories)} runs are sent, "
                f"and the same command goes on from there"
            ) from error
        if came == "sent":
            console.print(f"{directory}: sent", soft_wrap=True, highlight=False)
        count[came] += 1
    if count["not finished"] == len(directories):
        one = len(directories) == 1
        what = f"{directories[0]}" if one else f"each of {len(directories)} runs"
        raise ValueError(
            f"nothing to publish: {what} is not finished; "
            f"finish it with scripts/train.py and the same overrides"
        )
    counts = ", ".join(f"{number} {came}" for came, number in count.items())
    console.print(f"{len(directories)} runs: {counts}")
    if destination.mode == "offline" and count["sent"]:
        console.print(f"To W&B: {destination.sync_command}", soft_wrap=True)
    return not count["left out"]


def publish(directory: Path, config: Config, destination: Destination) -> str:
    """Send one run; what came of it: ``sent``, ``there already`` or ``not finished``.

    Raises CannotSend for a run that cannot be sent, Timeout while it trains, and what W&B raises.
    """
    try:
        done = finished(directory)
    except ValueError as error:
        raise CannotSend(str(error)) from error
    if done is None:
        return "not finished"
    if copy := told_as_copy(directory):
        raise CannotSend(copy)
    with FileLock(paths.lock_file(directory), timeout=0):
        try:
            made = read_config(directory)
        except ValueError as error:
            raise CannotSend(f"{directory}: not a run's records ({error})") from error
        study = [config.study.name] if config.study.name else []
        before = sent(directory, destination.mode).get("tags", [])
        tags = list(dict.fromkeys([*tags_of(made), *config.wandb.tags, *study, *before]))
        if not config.force and is_sent(directory, destination, tags):
            return "there already"
        mirror = Mirror(directory, destination, tags, arm_of(made), force=config.force)
        mirror.begin()
        mirror.finish(done.state)
    return "sent"


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
        run.finish()


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
    for path in files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)
