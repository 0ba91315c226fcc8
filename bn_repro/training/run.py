"""The life of a run: begun, resumed or found finished; alone in its directory; its end recorded."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml
from filelock import FileLock, Timeout

from bn_repro.config.identity import arm_of, directory_of, tags_of
from bn_repro.config.schema import Config
from bn_repro.data.batches import Data
from bn_repro.records import paths
from bn_repro.records.files import (
    archive_run,
    ensure_writable,
    write_atomically,
    write_json,
)
from bn_repro.records.reader import Outcome, finished, last_status, read_manifest
from bn_repro.records.recorder import (
    Mirror,
    NoMirror,
    NoRecord,
    Record,
    Recorder,
    manifest,
    write_status,
)
from bn_repro.tracking.logger import WandbLogger, destination_of
from bn_repro.training.build import build, check, configure_torch, device_of, fit, network
from bn_repro.training.finished import find_finished, same_data
from bn_repro.training.loop import Progress, train
from bn_repro.training.ranks import anywhere, barrier, process_group, stop_agreed
from bn_repro.training.stop_signal import StopFlag
from bn_repro.training.world import World, launched_world

Say = Callable[[str], None]


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
        ensure_writable(directory_of(config))


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
        done = None if config.force or world.size > 1 else find_finished(config)
        if done is not None:
            return _found(directory, done, config, world, say)
        configure_torch(config)
        model, data = build(config)
        fit(config, model, data, world)
        if world.main:
            ensure_writable(directory)
        with (
            process_group(world, device) as group,
            _alone(directory, world, device, flag, say) as alone,
        ):
            if not alone:
                return replace(last_status(directory), state="preempted")
            if config.force:
                if world.main:
                    archive_run(directory, say)
            else:
                same_data(directory, data)
            done = finished(directory) if world.main else None
            if anywhere(done is not None, world, device):
                done = done or finished(directory) or last_status(directory)
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
    before = last_status(directory)
    write_status(directory, "running", before.step, before.seconds)
    content = yaml.safe_dump(asdict(config), sort_keys=False)
    write_atomically(directory / paths.CONFIG, content.encode())
    facts = manifest(
        device=device.type,
        hardware=hardware_of(device, config.threads),
        engine=config.train.engine,
        world=world.size,
        data=data.fingerprint,
    )
    first = read_manifest(directory)
    if first:
        facts = first | {"resumed": [*first.get("resumed", []), facts]}
    write_json(directory / paths.MANIFEST, facts)


def mirror_of(config: Config, world: World) -> Mirror:
    """Where the run is shown besides its directory."""
    if config.wandb.mode == "disabled" or not world.main:
        return NoMirror()
    words = asdict(config)
    return WandbLogger(destination_of(config), tags_of(words), arm_of(words))


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


def _failed(directory: Path, error: BaseException, world: World) -> Outcome:
    """Leave the reason in the run's own directory, as far as the disk still takes it.

    A run that had come to its end has not failed. Of several ranks the first to fail tells why: the
    others fail after it, since it is gone.
    """
    done = finished(directory)
    if done is not None:
        return done
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    before = last_status(directory)
    if world.size > 1 and before.state == "failed":
        return Outcome("failed", before.step, before.seconds, error=line)
    if isinstance(error, KeyboardInterrupt):
        state, error_line = "preempted", None
    else:
        state, error_line = "failed", line
    try:
        write_status(directory, state, before.step, before.seconds, error_line)
        text = "".join(traceback.format_exception(error))
        write_atomically(directory / paths.TRACEBACK, text.encode())
    except OSError as also:
        error_line = f"{line} (and its record could not be written: {also})"
    return Outcome(state, before.step, before.seconds, error=error_line)


@contextmanager
def _alone(
    directory: Path, world: World, device: torch.device, stop: StopFlag, say: Say
) -> Iterator[bool]:
    """Hold the run's lock, waiting for it if need be; False if asked to stop before it is had.

    The first rank takes it, and all wait together: a rank that hears nothing of the others for
    longer than torch.distributed's time limit would give up.
    """
    lock, told = FileLock(paths.lock_file(directory)), False
    try:
        while not stop_agreed(stop, world, device):
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


def hardware_of(device: torch.device, threads: int) -> str:
    """The name of the GPU, or of the processor with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
