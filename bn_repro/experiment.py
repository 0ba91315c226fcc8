"""The life of a run: begun, resumed or found finished; alone in its directory; its end recorded."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml
from filelock import FileLock, Timeout

from bn_repro import rundir
from bn_repro.build import build, check, device_of, fit, network, settle
from bn_repro.checkpoint import write_atomically
from bn_repro.config import Config, run_id
from bn_repro.data.batches import Data
from bn_repro.distributed import (
    StopFlag,
    World,
    anywhere,
    barrier,
    launched_world,
    process_group,
)
from bn_repro.mirror import WandbMirror
from bn_repro.published import Place
from bn_repro.record import (
    Mirror,
    NoMirror,
    NoRecord,
    Record,
    Recorder,
    last_top1,
    manifest,
    read_json,
    write_json,
    write_status,
)
from bn_repro.train import Outcome, Progress, train
from bn_repro.variation import arm_of, tags_of

Say = Callable[[str], None]


def directory_of(config: Config, world: int = 1) -> Path:
    """Where the run of this configuration lives."""
    return rundir.run_directory(config.runs, config.experiment, run_id(config, world), config.seed)


def finished(directory: Path) -> Outcome | None:
    """The outcome of a run that has nothing left to do, or None."""
    status = read_json(directory / rundir.STATUS) or {}
    if status.get("state") not in ("completed", "diverged"):
        return None
    step, seconds = int(status.get("step", 0)), float(status.get("seconds", 0.0))
    return Outcome(status["state"], step, seconds, last_top1(directory))


def already(config: Config) -> Outcome | None:
    """The outcome of this configuration's run if it is finished, and was on the same data.

    Data that lie where the run found them are taken for the same; others are read and compared.
    """
    directory = directory_of(config)
    done = finished(directory)
    if done is not None and _root_before(directory) != config.data.root:
        same_data(directory, build(config)[1])
    return done


def _root_before(directory: Path) -> str | None:
    try:
        before = yaml.safe_load((directory / rundir.CONFIG).read_text())
        return before["data"]["root"]
    except (OSError, TypeError, KeyError, yaml.YAMLError):
        return None


def same_data(directory: Path, data: Data) -> None:
    """ValueError, naming both, where the run in ``directory`` was begun on other data."""
    before = (read_json(directory / rundir.MANIFEST) or {}).get("data")
    if before not in (None, data.fingerprint):
        raise ValueError(
            f"{directory}: the run was begun on data {before[:16]}, but {data.name} is now "
            f"{data.fingerprint[:16]}; bring the data back, or start over with force=true"
        )


def preflight(configs: Sequence[Config]) -> None:
    """ValueError for the first of ``configs`` that could not train.

    Nothing is written but locks, and what data sets keep for all runs (caches, downloads). Data
    sets and networks are built once each, however many runs share them.
    """
    data: dict[str, Data] = {}
    for config in configs:
        check(config)
        device_of(config, World())
    for config in {repr(replace(c, seed=0)): c for c in configs}.values():
        name = repr(config.data)
        if name not in data:
            data[name] = build(config)[1]
        fit(config, network(config, data[name]), data[name], World())
        writable(directory_of(config))


def run(
    config: Config,
    *,
    progress: Progress = lambda step, values: None,
    say: Say = print,
    stop: StopFlag | None = None,
) -> Outcome:
    """Bring the run of ``config`` to its end: start it, resume it, or find it finished.

    Only one process works on a run: a second waits for the first, then finds the run finished or
    takes it over. Raises ValueError for bad input, before anything is written.
    """
    world = launched_world()
    check(config)
    device = device_of(config, world)
    directory = directory_of(config, world.size)
    with (StopFlag() if stop is None else stop).listening() as flag:
        done = None if config.force or world.size > 1 else already(config)
        if done is not None:
            return _found(directory, done, config, world, say)
        settle(config)
        model, data = build(config)
        fit(config, model, data, world)
        if world.main:
            writable(directory)
        with (
            process_group(world, device) as group,
            _alone(directory, world, device, flag, say) as alone,
        ):
            if not alone:
                return _stopped(directory)
            if config.force:
                if world.main:
                    set_aside(directory, say)
            else:
                same_data(directory, data)
            done = finished(directory) if world.main else None
            if anywhere(done is not None, world, device):
                done = done or finished(directory) or _stopped(directory)
                return _found(directory, done, config, world, say)
            try:
                if world.main:
                    _begin(directory, config, device, world, data)
                barrier(world)

                def recorder_of(lengths: Mapping[str, int] | None) -> Record:
                    if not world.main:
                        return NoRecord()
                    return Recorder(directory, lengths, mirror_of(config, world))

                return train(
                    config,
                    model.to(device),
                    data,
                    directory,
                    device=device,
                    world=world,
                    stop=flag,
                    recorder_of=recorder_of,
                    progress=progress,
                    say=say,
                )
            except (Exception, KeyboardInterrupt) as error:
                group.failed = True
                return _failed(directory, error, world)


def _begin(directory: Path, config: Config, device: torch.device, world: World, data: Data) -> None:
    """The directory's first files; a manifest that is there gets a line for each resume."""
    directory.mkdir(exist_ok=True)
    before = _stopped(directory)
    write_status(directory, "running", before.step, before.seconds)
    content = yaml.safe_dump(asdict(config), sort_keys=False)
    write_atomically(directory / rundir.CONFIG, content.encode())
    facts = manifest(
        device=device,
        threads=config.threads,
        engine=config.train.engine,
        world=world.size,
        data=data.fingerprint,
    )
    first = read_json(directory / rundir.MANIFEST)
    if first is not None:
        facts = first | {"resumed": [*first.get("resumed", []), facts]}
    write_json(directory / rundir.MANIFEST, facts)


def mirror_of(config: Config, world: World) -> Mirror:
    """Where the run is shown besides its directory."""
    if config.wandb.mode == "disabled" or not world.main:
        return NoMirror()
    words = asdict(config)
    return WandbMirror(place_of(config), tags_of(words), arm_of(words))


def _found(directory: Path, done: Outcome, config: Config, world: World, say: Say) -> Outcome:
    """``done``, the outcome of a run that was finished before; where a W&B agent asks for it, the
    run is shown under the agent's own id, since its sweep waits for the metric."""
    if world.main:
        say(f"{directory}: already {done.state} at step {done.step} (force=true starts over)")
    if os.environ.get("WANDB_SWEEP_ID"):
        mirror = mirror_of(config, world)
        mirror.begin(directory)
        mirror.finish(done.state)
    return done


def place_of(config: Config) -> Place:
    """Where W&B's copies of runs go."""
    w = config.wandb
    return Place(w.mode, w.project, w.entity, Path(w.dir or config.runs))


def _stopped(directory: Path) -> Outcome:
    status = read_json(directory / rundir.STATUS) or {}
    return Outcome("preempted", status.get("step", 0), status.get("seconds", 0.0))


def _failed(directory: Path, error: BaseException, world: World) -> Outcome:
    """Leave the reason in the run's own directory, as far as the disk still takes it.

    A run that had come to its end has not failed. Of several ranks the first to fail tells why: the
    others fail after it, since it is gone.
    """
    done = finished(directory)
    if done is not None:
        return done
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    before = _stopped(directory)
    if world.size > 1 and (read_json(directory / rundir.STATUS) or {}).get("state") == "failed":
        return Outcome("failed", before.step, before.seconds, error=line)
    if isinstance(error, KeyboardInterrupt):
        state, error_line = "preempted", None
    else:
        state, error_line = "failed", line
    try:
        write_status(directory, state, before.step, before.seconds, error_line)
        text = "".join(traceback.format_exception(error))
        write_atomically(directory / rundir.TRACEBACK, text.encode())
    except OSError as also:
        error_line = f"{line} (and its record could not be written: {also})"
    return Outcome(state, before.step, before.seconds, error=error_line)


def writable(directory: Path) -> None:
    """ValueError where the run in ``directory`` could not be written."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        rundir.lock_file(directory).touch()
        if directory.exists() and not directory.is_dir():
            raise FileExistsError(None, f"{directory.name} is a file")
    except OSError as error:
        raise ValueError(
            f"runs: cannot write to {directory.parent} ({error.strerror}); "
            f"give a writable folder with runs=..."
        ) from error


@contextmanager
def _alone(
    directory: Path, world: World, device: torch.device, stop: StopFlag, say: Say
) -> Iterator[bool]:
    """Hold the run's lock, waiting for it if need be; False if asked to stop before it is had.

    The first rank takes it, and all wait together: a rank that hears nothing of the others for
    longer than torch.distributed's time limit would give up.
    """
    lock, told = FileLock(rundir.lock_file(directory)), False
    try:
        while not stop.agreed(world, device):
            if anywhere(world.main and _taken(lock), world, device):
                yield True
                return
            if world.main and not told:
                say(f"{directory}: another process is training this run; waiting for it")
            told = True
        yield False
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    with suppress(Timeout):
        lock.acquire(timeout=0.2)
    return lock.is_locked


@contextmanager
def idle(directory: Path) -> Iterator[None]:
    """Hold the lock of the run in ``directory``; ValueError where another process trains it."""
    lock = FileLock(rundir.lock_file(directory))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{directory}: another process is training this run; stop it, or wait for its end"
        ) from None
    try:
        yield
    finally:
        lock.release()


def set_aside(directory: Path, say: Say = print) -> None:
    """Move a run out of the way, under a name that tells when; nothing is ever deleted.

    The caller holds the run's lock.
    """
    if not directory.exists():
        return
    name = aside = directory.with_name(f"{directory.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while aside.exists():
        number += 1
        aside = name.with_name(f"{name.name}-{number}")
    shutil.move(directory, aside)
    say(f"{directory}: the run before was moved to {aside.name}")


def lost(config: Config, reason: str) -> Outcome:
    """The outcome of a run whose process died; its status says so if no other took it over."""
    directory = directory_of(config)
    before = _stopped(directory)
    lock = FileLock(rundir.lock_file(directory))
    try:
        with lock.acquire(timeout=0):
            done = finished(directory)
            if done is not None:  # it had ended, and died before it could tell
                return done
            if directory.is_dir():
                write_status(directory, "failed", before.step, before.seconds, reason)
    except (Timeout, OSError):
        pass
    return Outcome("failed", before.step, before.seconds, error=reason)
