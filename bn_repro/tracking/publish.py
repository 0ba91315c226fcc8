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
from bn_repro.records.reader import finished
from bn_repro.tracking import logger
from bn_repro.tracking.published import Local, Place, Refused, destination_of, line_of


def publish_all(config: Config, found: Sequence[Path], console: Console) -> bool:
    """Send the finished runs among the directories ``found``.

    A run that has been sent whole is not sent again, except with ``force``; one whose sending was
    cut short is made whole. False where a finished run had to be left out. Raises ValueError where
    nothing is finished, OSError where W&B cannot be reached.
    """
    place = destination_of(config)
    if place.mode == "disabled":
        raise ValueError("wandb: give wandb=online, or wandb=offline and send with `wandb sync`")
    told: Counter[str] = Counter()
    for directory in found:
        try:
            outcome = published(directory, config, place)
        except Refused as error:
            outcome = "left out"
            console.print(f"{error}; {outcome}", soft_wrap=True, highlight=False)
        except Timeout:
            outcome = "left out"
            console.print(f"{directory}: another process works on this run; {outcome}")
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else OSError
            raise kind(
                f"wandb: {line_of(error)}; {told['sent']} of {len(found)} runs are sent, "
                f"and the same command goes on from there"
            ) from error
        if outcome == "sent":
            console.print(f"{directory}: sent", soft_wrap=True, highlight=False)
        told[outcome] += 1
    if told["not finished"] == len(found):
        what = f"{found[0]}" if len(found) == 1 else f"each of {len(found)} runs"
        raise ValueError(
            f"nothing to publish: {what} is not finished; "
            f"bring it to its end with scripts/train.py and the same words"
        )
    console.print(
        f"{len(found)} runs: "
        + ", ".join(f"{count} {word}" for word, count in told.items() if count)
    )
    if place.mode == "offline" and told["sent"]:
        console.print(f"To W&B: wandb sync {place.folder / 'wandb'}", soft_wrap=True)
    return not told["left out"]


def published(directory: Path, config: Config, place: Place) -> str:
    """What came of one run: ``sent``, ``there already`` or ``not finished``.

    Raises Refused for a run that cannot be sent, Timeout while it trains, and what W&B raises.
    """
    try:
        done = finished(directory)
    except ValueError as error:
        raise Refused(str(error)) from error
    if done is None:
        return "not finished"
    with FileLock(paths.lock_file(directory), timeout=0):
        run = Local.read(directory)
        study = [config.study.name] if config.study.name else []
        tags = [*tags_of(run.config), *config.wandb.tags, *study, *run.tags(place)]
        tags = list(dict.fromkeys(tags))
        if not config.force and run.is_sent(place, tags):
            return "there already"
        shown = logger.Shown(run, place, tags, arm_of(run.config), force=config.force)
        shown.finish(done.state)
    return "sent"


def show_report(config: Config, study: str, folder: Path) -> None:
    """The figures and tables of a study, as a W&B run of their own, where W&B is asked for.

    Trouble there is said in a line; the report in ``folder`` is whole.
    """
    place = destination_of(config)
    if place.mode == "disabled":
        return
    try:
        _report(place, study, at_scale(study, config.scale), folder, config.wandb.tags)
    except Exception as error:
        line = line_of(error)
        print(f"wandb: {line}; the report in {folder} is whole", file=sys.stderr)


def _report(place: Place, study: str, group: str, folder: Path, tags: Sequence[str]) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files))
    name = f"report-{study}-{digest.hexdigest()[:8]}"
    before = logger.written(place, name) if place.mode == "offline" else []
    if any(list(path.glob("*.sync*")) for path in before):
        return  # the same report has been sent
    run = logger.begin(
        place,
        name,
        name=f"{group}, report",
        group=group,
        job_type="report",
        tags=[study, *tags],
        config={"study": study},
    )
    try:
        if not run.summary.get("whole"):
            _show(run, study, folder, files)
            run.summary.update({"whole": True})
    finally:
        run.finish()


def _show(run: Any, study: str, folder: Path, files: Sequence[Path]) -> None:
    import wandb

    claims: list[dict[str, Any]] = json.loads((folder / results.CLAIMS).read_text())
    runs = pd.read_csv(folder / results.RUNS, dtype={"id": str})
    shown: dict[str, Any] = {
        "tables/claims": wandb.Table(dataframe=pd.DataFrame(claims).astype(str)),
        "tables/runs": wandb.Table(dataframe=runs.astype(object).where(runs.notna(), None)),
    }
    for path in files:
        if path.suffix == ".png":
            shown[f"figures/{path.stem}"] = wandb.Image(str(path))
    run.log(shown)
    run.summary.update({f"claim/{claim['id']}": claim["verdict"] for claim in claims})
    artifact = wandb.Artifact(f"report-{study}", type="report")
    for path in files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)
