"""Which engine takes a run's steps: what was asked for, what serves, what a run was begun with.

Engines round differently, as numbers of threads do, so a run resumes with its own. No torch here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.json_files import Row
from bn_repro.records.reader import read_config, read_manifest
from bn_repro.training.world import World

REQUIREMENTS = {
    "by_hand": "mlp with norm none or batch by plain float32 SGD, on the CPU and one rank",
    "graphed": "a GPU and one rank",
}
"""What an engine requires; the others require nothing."""


def with_engine(config: Config, device: str, world: World) -> Config:
    """``config`` with the engine that its run's steps take, in the place of ``auto``.

    ValueError where that does not serve on this ``device``, and where the run was begun with
    another engine or other threads.
    """
    directory = directory_of(config, world.size)
    begun = {} if config.force else _begun(directory)
    engine = config.train.engine
    own: str | None = (begun.get("engine") or "eager") if begun else None
    if engine == "auto":
        usual = "eager" if unmet_requirements("by_hand", config, device, world) else "by_hand"
        engine = own or usual
    for key, before, now in (
        ("train.engine", own, engine),
        ("threads", begun.get("threads"), config.threads),
    ):
        if before not in (None, now):
            raise ValueError(
                f"{key}: {directory} was begun with {before}, not with {now}, and its "
                f"numbers would differ; give {key}={before}, or start over with force=true"
            )
    wrong = unmet_requirements(engine, config, device, world)
    if wrong:
        fix = "start over with force=true" if own else "use train.engine=auto"
        raise ValueError(
            f"train.engine: {engine!r} is for {REQUIREMENTS[engine]}, here is {', '.join(wrong)}; "
            f"{fix}"
        )
    return replace(config, train=replace(config.train, engine=engine))


def _begun(directory: Path) -> Row:
    """The manifest of the run in ``directory``; where it is lost, what its configuration says of
    the engine and the threads."""
    try:
        found = read_manifest(directory)
        if found or not (directory / paths.CHECKPOINTS).is_dir():
            return found
    except Unreadable:
        pass
    try:
        config = read_config(directory)
    except Unreadable:
        return {}
    engine = (config.get("train") or {}).get("engine")
    return {} if engine in (None, "auto") else {"engine": engine, "threads": config.get("threads")}


def unmet_requirements(engine: str, config: Config, device: str, world: World) -> list[str]:
    """What keeps ``engine`` from taking the steps of ``config``, as ``key=value``."""
    m, o, t = config.model, config.optimizer, config.train
    alone = ("ranks", world.size, world.size == 1)
    met = {
        "graphed": (("device", device, device == "cuda"), alone),
        "by_hand": (
            ("model.name", m.name, m.name == "mlp"),
            ("model.norm", m.norm, m.norm in ("none", "batch")),
            ("model.norm_at", m.norm_at, m.norm_at == "before"),
            ("model.norm_eps", m.norm_eps, m.norm == "none" or m.norm_eps > 0),
            ("optimizer.momentum", o.momentum, o.momentum == 0),
            ("optimizer.weight_decay", o.weight_decay, o.weight_decay == 0),
            ("optimizer.delay", o.delay, o.delay == 0),
            ("train.precision", t.precision, t.precision == "float32"),
            ("train.polyak", t.polyak, t.polyak == 0),
            ("device", device, device == "cpu"),
            alone,
        ),
    }
    return [f"{key}={found}" for key, found, served in met.get(engine, ()) if not served]
