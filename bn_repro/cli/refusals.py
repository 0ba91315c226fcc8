"""Overrides that a run, a sweep or a study would ignore, refused before anything begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from bn_repro.config.dataset import MnistBinaryConfig
from bn_repro.config.fields import expanded, from_environment
from bn_repro.config.schema import Config, StudyConfig
from bn_repro.records.paths import CONFIGS
from bn_repro.sweep.planned import PlannedRun

OF_THE_COMMAND = ("force=", "retry=", "on_failure=")
"""Overrides that concern a study or a sweep as a whole, not its runs."""


def refuse_keys_of_a_study(study: StudyConfig) -> None:
    """ValueError for what only a study heeds, where there is none."""
    for key in ("seeds", "only", "run", "jobs", "scale", "skip_reported"):
        if getattr(study, key) not in (None, False):
            other = "; of a -m sweep it is hydra.launcher.jobs" * (key == "jobs")
            raise ValueError(f"study.{key}: is for study=..., which was not given{other}")


def refuse_studies(runs: Sequence[PlannedRun]) -> None:
    """ValueError for what only a study heeds, in a sweep's runs."""
    if any(planned.config.study.blocks for planned in runs):
        raise ValueError("-m: a study is a sweep already; give study=... without -m")
    for planned in runs:
        refuse_keys_of_a_study(planned.config.study)


def refuse_launcher() -> None:
    """ValueError where a launcher was given for one run, which trains in this process."""
    for word in HydraConfig.get().overrides.hydra:
        if word.startswith(("hydra/launcher", "hydra.launcher")):
            raise ValueError(f"{word}: one run takes no launcher; add -m, or leave it out")


def refuse_hidden_files(folder: str) -> None:
    """ValueError for one's own configuration that has the name of one of ours: Hydra takes ours."""
    for path in sorted(Path(folder).expanduser().rglob("*.yaml")):
        name = path.relative_to(Path(folder).expanduser())
        if (CONFIGS / name).exists():
            raise ValueError(f"{path}: the package has a {name} too; give yours another name")


def refuse_unread_folder(configs: Sequence[Config]) -> None:
    """ValueError for a ``data.root`` that no run of the command reads.

    One from the environment is allowed: it is for other commands too. So is one for a network of
    images, whose scale may replace photographs by digits.
    """
    given = from_environment("data.root")
    unread = (isinstance(c.data, MnistBinaryConfig) and c.model.flat for c in configs)
    usual = (None, given and expanded("data.root", given))
    if any(config.data.root not in usual for config in configs) and all(unread):
        raise ValueError(
            "data.root: no run reads it, since mnist_binary lies in the package; leave it out, or "
            "add data=mnist"
        )
