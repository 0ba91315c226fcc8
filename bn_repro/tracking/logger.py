"""A run directory shown in W&B: the rows that W&B does not have yet are sent.

A run there is a function of the local records: a row becomes the series that ``series.py`` names,
and the rows of one step become one row. So a run that is logged while it trains and one that is
sent later are the same. Each time it begins with the first record: online W&B says which step it
has last, and only later ones are sent; offline a new file, of the whole run, takes the place of the
one before. So no row comes twice, and none is left out. ``published.json`` in the run directory
says what has been sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bn_repro.config.stored import OF_A_RUN
from bn_repro.records import histograms, paths
from bn_repro.records.files import write_json
from bn_repro.records.json_files import Row, read_rows
from bn_repro.records.reader import FINISHED, read_config, read_manifest, read_status
from bn_repro.tracking.sent import (
    CannotSend,
    Destination,
    digest,
    files,
    first_line,
    is_synced,
    sent,
    wandb_id,
)
from bn_repro.tracking.series import History, Value, summary_of
from bn_repro.tracking.wandb_run import (
    artifacts_of,
    begin,
    check_service,
    folder_of,
    remove_copies,
    remove_unsynced,
)

TAG_LENGTH, NAME_LENGTH = 64, 128
LOGGED = ("experiment", "seed", "scale", "device", "threads")
"""What W&B gets of a configuration besides the keys of its id. A W&B sweep gives all of it to a run
that it restarts, so keys of one command are left out."""


def flat(config: Row, **more: Any) -> dict[str, Any]:
    """A run's configuration as W&B gets it: dotted keys, as on the command line.

    ``more`` is flattened too: ``manifest.versions.torch``.
    """
    besides = {key: config[key] for key in LOGGED if key in config}
    sections = {name: config[name] for name in OF_A_RUN if isinstance(config.get(name), Mapping)}
    return dict(_dotted({**besides, **sections, **more}))


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class RunUpload:
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
        self._sent: str | None = None
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
        if offline:  # the old file is deleted: until there is a new one, nothing is synced
            remove_unsynced(directory, self.destination, run_id)
            self._mark(where=None)
        self.run = begin(
            self.destination,
            run_id,
            live=self.live,
            commit=manifest.get("commit"),
            name=shortened(f"{arm} seed {config['seed']}", run_id),
            group=shortened(arm, directory.parent.name),
            job_type="train",
            tags=[tag[:TAG_LENGTH] for tag in self.tags],
            config=flat(config, arm=arm, manifest=made),
        )
        self._mark(where=self._where())
        self.run.define_metric("step", hidden=True)
        for name in ("train*", "val*", "test*", "timing/*"):
            self.run.define_metric(name, step_metric="step")
        for name in ("trace/*", "histogram/*"):
            self.run.define_metric(name, step_metric="step", summary="none")
        self._send(steps)

    def follow(self) -> None:
        """Send the steps that have been recorded whole since the last time."""
        check_service()
        self._send(self._history.steps())

    def finish(self, state: str) -> None:
        """Send the rest, and close with the run's summary; a finished run leaves its records as an
        artifact."""
        self.close(state)
        self.mark_sent()

    def close(self, state: str) -> None:
        """:meth:`finish`, without the entry in ``published.json``."""
        where, folder = self._where(), folder_of(self.run)
        try:
            # What it recorded beyond its last checkpoint, a run that goes on records again. Online,
            # where no step can be added to, its last one is sent then; a file is made anew.
            anew = state not in FINISHED and self.destination.mode == "online"
            whole_to = read_status(self.directory).get("step") or 0 if anew else math.inf
            self._send(self._history.steps(whole_to=whole_to))
            self.run.summary.update({**summary_of(self.directory), "state": state})
            if self.live and state == "diverged":
                self._alert()
            if state in FINISHED:
                with artifacts_of(self.run):
                    self.run.log_artifact(self._records())
                    if self._has_model():
                        self.run.log_artifact(self._model(), aliases=["final"])
            elif state == "preempted":
                self.run.mark_preempting()
        finally:
            self.run.finish(exit_code=int(state not in FINISHED))
        check_service()
        if self.destination.mode == "online":
            remove_copies(folder)
        self._sent = where if state in FINISHED else None

    def mark_sent(self) -> None:
        """Remember that all of a finished run is sent."""
        if self._sent is not None:
            self._mark(where=self._sent, records=digest(self.directory))

    def _send(self, steps: Iterable[tuple[int, dict[str, Value]]]) -> None:
        for step, values in steps:
            # W&B may have rows that a resume cut back here, too; they are the same ones again.
            if step >= self.run.starting_step:
                shown = {name: _shown(value) for name, value in values.items()}
                self.run.log({"step": step, **shown}, step=step, commit=True)

    def _alert(self) -> None:
        """Have W&B alert its subscribers (by mail, or in a chat) that the run diverged."""
        step, name = summary_of(self.directory).get("step"), self.run.name
        text = f"{name}: the loss was not finite at step {step:,}"
        self.run.alert(title="diverged", text=text, level="ERROR")

    def _records(self) -> Any:
        import wandb

        records = wandb.Artifact(self.run.id, type="records")
        for path in files(self.directory):
            records.add_file(str(path))
        rows = read_rows(self.directory / paths.METRICS)
        columns: list[Any] = list(dict.fromkeys(key for row in rows for key in row))
        data: list[Any] = [[row.get(key) for key in columns] for row in rows]
        records.add(wandb.Table(columns=columns, data=data, allow_mixed_types=True), "metrics")
        return records

    def _has_model(self) -> bool:
        weights = self.directory / paths.WEIGHTS
        return self.destination.log_model == "final" and weights.exists()

    def _model(self) -> Any:
        """The network that the run left, as ``bn_repro.load`` reads it, with its card."""
        import wandb

        end, weights = summary_of(self.directory), self.directory / paths.WEIGHTS
        model = wandb.Artifact(model_name(self.run.id), type="model", metadata=end)
        for path in (weights, weights.with_suffix(".md")):
            if path.exists():
                model.add_file(str(path))
        return model

    def _where(self) -> str:
        return self.run.url or str(folder_of(self.run))

    def _mark(self, *, where: str | None, records: str | None = None) -> None:
        """Remember that sending was begun, or that all ``records`` are sent."""
        mark = {
            "project": self.destination.project,
            "entity": self.destination.entity,
            "tags": self.tags,
            "where": where,
            "records": records,
            "model": records is not None and self._has_model(),
        }
        others = {mode: sent(self.directory, mode) for mode in ("offline", "online")}
        marks = others | {self.destination.mode: mark}
        marks = {mode: kept for mode, kept in marks.items() if kept}
        write_json(self.directory / paths.PUBLISHED, marks)


def model_name(run_id: str) -> str:
    """Of the artifact with the network of a W&B run."""
    return f"{run_id}-weights"


def shortened(name: str, apart: str) -> str:
    """A name that W&B takes; where it is cut, what keeps it ``apart`` from others is at its end."""
    if len(name) <= NAME_LENGTH:
        return name
    return f"{name[: NAME_LENGTH - len(apart) - 4]}... {apart}"


def _shown(value: Value) -> Any:
    """A value as ``wandb.Run.log`` takes it; what lies beyond a histogram's bins is in two more, of
    their width."""
    if not isinstance(value, list):
        return value
    import wandb

    return wandb.Histogram(np_histogram=(np.array(value), np.array(histograms.edges())))
