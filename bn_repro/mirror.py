"""Weights & Biases as a mirror of the local records. It shows a run and never ends one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class WandbMirror:
    """One W&B run for one run of ours, under our id, so that a resumed run goes on there.

    ``mode`` is ``offline`` or ``online``. Whatever goes wrong there is said once, and the mirror
    falls silent; the local records are whole, and can be published later.
    """

    def __init__(
        self,
        *,
        mode: str,
        project: str,
        entity: str | None,
        folder: Path,
        run_id: str,
        name: str,
        group: str,
        tags: list[str],
        config: Mapping[str, Any],
    ) -> None:
        self._run: Any = None

        def start() -> None:
            import wandb  # takes a second, and most runs do without

            folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=project,
                entity=entity,
                dir=str(folder),
                mode=mode,  # pyright: ignore[reportArgumentType]
                id=run_id,
                name=name,
                group=group,
                tags=tags,
                job_type="train",
                config=dict(config),
                resume="allow" if mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
            self._run.define_metric("*", step_metric="step")

        self._try(start)

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Send ``values`` at ``step``; what was not finite is left out."""
        shown = {key: value for key, value in values.items() if value is not None}
        if self._run is not None:
            self._try(lambda: self._run.log({"step": step, **shown}))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Close the W&B run with our last status in its summary."""
        run = self._run
        if run is not None:
            self._try(lambda: run.summary.update(dict(summary)))
            self._try(lambda: run.finish(exit_code=int(summary.get("state") == "failed")))
            self._run = None

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # nothing over there is worth a run
            self._run = None
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"wandb: {line}; the run goes on with its local records alone", file=sys.stderr)
