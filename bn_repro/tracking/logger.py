"""Weights & Biases as a mirror of the local records. It shows a run and never ends one.

A W&B run is a function of a run directory: a record row becomes the series that ``series.py`` says,
and the rows of one step become one row there. So a run shown while it trains and one published
later are the same. A run that is resumed, or sent again, shows its records from the first: online
W&B says which step it has last, and only later ones are sent; offline a new file, of the whole run,
takes the place of the one before. So no row comes twice, and none is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bn_repro.records import paths
from bn_repro.records.reader import FINISHED, read_rows
from bn_repro.tracking.keys import Row, summary_of, values_of
from bn_repro.tracking.published import Local, Place, Refused, line_of

TAG_LENGTH = 64
INIT_SECONDS, FINISH_SECONDS = 30.0, 120.0
"""So long W&B is waited for; what is not sent by then can be published later."""


def begin(place: Place, run_id: str, *, live: bool = False, **what: Any) -> Any:
    """The W&B run of this id, begun or gone on with; ``what`` goes to ``wandb.init``.

    Offline, a file of the same run is removed: the new one will hold all of it. ``live`` runs show
    how their machine is doing. Raises ValueError without an API key, and whatever W&B raises.
    """
    import wandb  # takes a second, and most runs do without

    # What artifacts copy before they are sent lies with the rest, not in the user's home.
    os.environ.setdefault("WANDB_DATA_DIR", str((place.folder / "wandb").absolute()))
    wandb.setup(wandb.Settings(silent=True))
    # Left to itself, wandb.init() would ask for a key in the terminal, and wait.
    if place.mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ValueError("no API key; log in with: wandb login")
    place.folder.mkdir(parents=True, exist_ok=True)
    if place.mode == "offline":
        for before in written(place, run_id):
            shutil.rmtree(before, ignore_errors=True)
    return wandb.init(
        **what,
        project=place.project,
        entity=place.entity,
        dir=str(place.folder),
        mode=place.mode,  # pyright: ignore[reportArgumentType]
        id=run_id,
        resume="allow" if place.mode == "online" else None,
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


def written(place: Place, run_id: str) -> list[Path]:
    """The folders of offline runs of this id."""
    name = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}")
    return [p for p in (place.folder / "wandb").glob("offline-run-*") if name.fullmatch(p.name)]


class Shown:
    """The W&B run of a run directory, open. Its methods raise what W&B raises.

    ``arm`` is what it shares with its other seeds: a dashboard draws a line for each. Raises
    Refused where an offline file of this run is out of our hands: `wandb sync` would append the new
    one to it, all rows again. ``force`` lets it.
    """

    def __init__(
        self,
        local: Local,
        place: Place,
        tags: Sequence[str],
        arm: str = "",
        *,
        live: bool = False,
        force: bool = False,
    ) -> None:
        if place.mode == "offline" and local.is_out_of_hand() and not force:
            raise Refused(
                f"{local.directory}: W&B has some of this run by `wandb sync`, and a file "
                f"cannot go on from there; publish the rest with wandb=online"
            )
        self.local, self.place, self.tags = local, place, list(tags)
        experiment = local.config["experiment"]
        arm = arm or experiment
        made = {key: value for key, value in local.manifest.items() if key != "resumed"}
        if place.mode == "offline":  # its file goes; a kill until there is a new one is no loss
            local.mark(place, tags, None, whole=False)
        self.run = begin(
            place,
            local.id,
            live=live,
            name=f"{arm} seed {local.config['seed']}",
            group=experiment,
            job_type="train",
            tags=[tag[:TAG_LENGTH] for tag in tags],
            config={**local.config, "arm": arm, "manifest": made},
        )
        self._mark(whole=False)
        self.run.define_metric("step", hidden=True)
        for name in ("train*", "val*", "test*", "timing/*"):
            self.run.define_metric(name, step_metric="step")
        self.run.define_metric("trace/*", step_metric="step", summary="none")
        self._step, self._values = 0, {}
        for step, values in local.history:
            self._at(step, values)

    def row(self, row: Row) -> None:
        """Show a row that has just been recorded, with the others of its step."""
        self._at(row["step"], values_of(row))

    def _at(self, step: int, values: dict[str, float]) -> None:
        if step != self._step:
            self._send()
            self._step = step
        self._values |= values

    def _send(self) -> None:
        # W&B may have rows that a resume cut back here, too; they are the same ones again.
        if self._values and self._step >= self.run.starting_step:
            values = {"step": self._step, **self._values}
            self.run.log(values, step=self._step, commit=True)
        self._values = {}

    def finish(self, state: str) -> None:
        """Close with the run's summary; a finished one leaves its records as an artifact."""
        try:
            self._send()
            self.run.summary.update({**summary_of(self.local.directory), "state": state})
            if state in FINISHED:
                self.run.log_artifact(self._records())
            elif state == "preempted":
                self.run.mark_preempting()
        finally:
            self.run.finish(exit_code=int(state not in FINISHED))
        if state in FINISHED:
            self._mark(whole=True)

    def _records(self) -> Any:
        import wandb

        records = wandb.Artifact(self.run.id, type="records")
        for path in self.local.files():
            records.add_file(str(path))
        rows = list(read_rows(self.local.directory / paths.METRICS))
        columns: list[Any] = list(dict.fromkeys(key for row in rows for key in row))
        data: list[Any] = [[row.get(key) for key in columns] for row in rows]
        records.add(wandb.Table(columns=columns, data=data, allow_mixed_types=True), "metrics")
        return records

    def _mark(self, *, whole: bool) -> None:
        where = self.run.url or str(Path(self.run.dir).parent.absolute())
        self.local.mark(self.place, self.tags, where, whole=whole)


class WandbLogger:
    """A run, shown while it trains.

    Whatever goes wrong there is said once, and the mirror falls silent; the local records are
    whole, and can be published later.
    """

    def __init__(self, place: Place, tags: Sequence[str] = (), arm: str = "") -> None:
        self._place, self._tags, self._arm = place, tags, arm
        self._shown: Shown | None = None

    def begin(self, directory: Path) -> None:
        """Show what the records in ``directory`` hold already."""

        def start() -> None:
            local = Local.read(directory)
            self._shown = Shown(local, self._place, self._tags, self._arm, live=True)

        self._try(start)

    def row(self, row: Row) -> None:
        """Show a row of metrics, traces or timing."""
        shown = self._shown
        if shown is not None:
            self._try(lambda: shown.row(row))

    def finish(self, state: str) -> None:
        """Close with the run's last state."""
        shown = self._shown
        if shown is not None:
            self._try(lambda: shown.finish(state))
            self._shown = None

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # nothing over there is worth a run
            self._shown = None
            print(
                f"wandb: {line_of(error)}; the run goes on with its local records alone "
                f"(scripts/publish_wandb.py sends them later)",
                file=sys.stderr,
            )
