"""The life of a run, alone in its directory: found finished, started, resumed, stopped, failed."""

from __future__ import annotations

import errno
import os
import platform
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
import yaml
from filelock import FileLock, Timeout
from torch import nn

from bn_repro import stop_signal
from bn_repro.config.identity import directory_of
from bn_repro.config.schema import Config, check
from bn_repro.data.batches import Data
from bn_repro.data.decode import CorruptImage
from bn_repro.records import paths
from bn_repro.records.errors import Unreadable
from bn_repro.records.files import archive_run, ensure_writable, write_atomically, write_json
from bn_repro.records.reader import (
    UNREADABLE,
    Outcome,
    finished,
    last_status,
    passed_over_line,
    read_manifest,
)
from bn_repro.records.recorder import Logger, RecordsGone, manifest, write_status
from bn_repro.stop_signal import StopFlag
from bn_repro.tracking.live import logger_of
from bn_repro.training.build import build, configure_torch, data_of, device_of, network, validate
from bn_repro.training.engine import with_engine
from bn_repro.training.finished import check_no_copy, check_same_data, find_finished, finished_line
from bn_repro.training.loop import train
from bn_repro.training.lost_rank import RankLost
from bn_repro.training.ranks import barrier, process_group
from bn_repro.training.session import Log, Progress, Session, no_progress
from bn_repro.training.weights import WithWeights
from bn_repro.training.world import World, launched_world

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def preflight(configs: Sequence[Config]) -> None:
    """ValueError for the first of ``configs`` that could not train.

    Nothing is written but locks, and what data sets keep for all runs (caches, downloads). Each
    data set is loaded once, and one of the runs that differ by their seeds alone is tried.
    """
    data: dict[str, Data] = {}
    for config in configs:
        check(config)
        with_engine(config, device_of(config, World()).type, World())
    for config in {repr(replace(c, seed=0)): c for c in configs}.values():
        stop_signal.check()
        name = f"{config.model.flat} {config.data}"  # digits are flat for some networks alone
        if name not in data:
            data[name] = data_of(config)
        validate(config, network(config, data[name]), data[name], World())
        ensure_writable(directory_of(config))


def run(
    config: Config,
    *,
    progress: Progress = no_progress,
    log: Log = print,
    stop: StopFlag | None = None,
) -> Outcome:
    """Bring the run of ``config`` to its end: start it, resume it, or find it finished.

    Only one process works on a run: a second waits for the first, then finds the run finished or
    takes it over. Raises ValueError for bad input, before anything is written.
    """
    world = launched_world()
    check(config)
    device = device_of(config, world)
    with (StopFlag() if stop is None else stop).listening() as flag:
        session = Session(device, world, flag, log, progress)
        done = None if config.force or world.size > 1 else find_finished(config)
        if done is not None:
            return report_finished(config, done, session)
        with_engine(config, device.type, world)  # refused before the data take their time
        configure_torch(config)
        directory = directory_of(config, world.size)
        with process_group(world, device) as group, ExitStack() as held:
            built = _built(config, session)
            if built is None:
                return _stopped(directory)
            model, data = built
            validate(config, model, data, world)
            if world.main:
                ensure_writable(directory)
            if not held.enter_context(wait_for_lock(directory, session)):
                return _stopped(directory)
            done = _finished_meanwhile(config, directory, data, session)
            if done is not None:
                return report_finished(config, done, session)
            config = with_engine(config, device.type, world)
            group.record = partial(record_failure, directory, world=world)
            try:
                return _start_or_resume(config, model, data, directory, session)
            except (Exception, KeyboardInterrupt) as error:
                group.failed = True
                return record_failure(directory, error, world)


def _built(config: Config, session: Session) -> tuple[nn.Module, Data] | None:
    """The network and the data; None where a rank was asked to stop while they were made.

    The ranks have a process group by now: one that leaves would have the others wait for it.
    """
    built = None
    with suppress(KeyboardInterrupt):
        stop_signal.check()
        built = build(config)
        stop_signal.check()
    return None if session.any_rank(built is None or bool(session.stop)) else built


def _stopped(directory: Path) -> Outcome:
    """The outcome of a run that was asked to stop before it had begun, or gone on."""
    return replace(last_status(directory), state="preempted", error=None, cause="signal")


def _finished_meanwhile(
    config: Config, directory: Path, data: Data, session: Session
) -> Outcome | None:
    """Under the lock: the outcome of a run that is finished by now; with ``force`` it is archived.

    ValueError where the run was begun on other data.
    """
    if not config.force:
        check_no_copy(directory)
        check_same_data(directory, data)
    elif session.world.main:
        archive_run(directory, session.log)
    done = finished(directory) if session.world.main else None
    if not session.any_rank(done is not None):
        return None
    return done or finished(directory) or last_status(directory)


def _start_or_resume(
    config: Config, model: nn.Module, data: Data, directory: Path, session: Session
) -> Outcome:
    if session.world.main:
        write_first_files(config, data, directory, session)
    barrier(session.world)
    logger: Logger = logger_of(config) if session.world.main else Logger()
    if config.wandb.mode != "disabled" and config.wandb.log_model == "final":
        logger = WithWeights(logger) if session.world.main else logger
    return train(config, model.to(session.device), data, directory, session, logger)


def write_first_files(config: Config, data: Data, directory: Path, session: Session) -> None:
    """Status, configuration and manifest; a manifest that is there gets an entry for the resume."""
    directory.mkdir(exist_ok=True)
    before = last_status(directory)
    if before.state == UNREADABLE:
        session.log(str(before.error))
    (directory / paths.TRACEBACK).unlink(missing_ok=True)  # of an earlier failure
    write_status(directory, Outcome("running", before.step, before.seconds))
    content = yaml.safe_dump(asdict(config), sort_keys=False)
    write_atomically(directory / paths.CONFIG, content.encode())
    facts = manifest(
        device=session.device.type,
        hardware=hardware_of(session.device, config.threads),
        engine=config.train.engine,
        threads=config.threads,
        world=session.world.size,
        examples={"data": data.fingerprint, "classes": data.classes, "shape": list(data.shape)},
    )
    if data.passed_over:
        facts["passed_over"] = dict(data.passed_over)
        session.log(passed_over_line(data.passed_over))
    try:
        first = read_manifest(directory)
    except Unreadable as error:
        session.log(str(error))
        first = None
    if first:
        facts = first | {"resumed": [*first.get("resumed", []), facts]}
    write_json(directory / paths.MANIFEST, facts)


def report_finished(config: Config, done: Outcome, session: Session) -> Outcome:
    """Log that the run was finished before.

    A W&B agent's sweep waits for the run's metric, so it is shown under the agent's own id.
    """
    directory = directory_of(config, session.world.size)
    if session.world.main:
        session.log(finished_line(config, directory, done))
    if os.environ.get("WANDB_SWEEP_ID") and session.world.main:
        logger = logger_of(config)
        logger.begin(directory)
        logger.finish(done.state)
    return done


def record_failure(directory: Path, error: BaseException, world: World) -> Outcome:
    """Write why the run failed into its directory, as far as the disk allows.

    A run that had finished has not failed. Of several ranks the first to fail is recorded: the
    others fail because it is gone.
    """
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, RecordsGone):  # what lies there by now is nothing, or another run
        return Outcome("failed", 0, 0.0, error=line, cause="other")
    done = None if isinstance(error, Unreadable) else finished(directory)
    if done is not None:
        return done
    before = last_status(directory)
    interrupted = isinstance(error, KeyboardInterrupt)
    outcome = replace(
        before,
        state="preempted" if interrupted else "failed",
        error=None if interrupted else line,
        cause=cause_of(error),
    )
    if world.size > 1 and before.state == "failed":
        return replace(outcome, state="failed", error=line)
    try:
        write_status(directory, outcome)
        if not interrupted:
            text = "".join(traceback.format_exception(error))
            write_atomically(directory / paths.TRACEBACK, text.encode(errors="backslashreplace"))
    except OSError as also:
        return replace(outcome, error=f"{line} (and its record could not be written: {also})")
    return outcome


def cause_of(error: BaseException) -> str:
    """The ``cause`` of a status (``recorder.CAUSES``) for an error that ended a run."""
    if isinstance(error, KeyboardInterrupt):
        return "signal"
    if isinstance(error, CorruptImage):
        return "data"
    if isinstance(error, RankLost):
        return "lost"
    return "disk" if isinstance(error, OSError) and error.errno in DISK_ERRORS else "other"


@contextmanager
def wait_for_lock(directory: Path, session: Session) -> Iterator[bool]:
    """Hold the run's lock, waiting for it if need be; False if asked to stop before.

    The first rank takes it, and all wait together: torch.distributed gives a rank up that does not
    answer for longer than its time limit.
    """
    lock, waited = FileLock(paths.lock_file(directory)), False
    main = session.world.main
    try:
        while not session.stop_agreed():
            if session.any_rank(main and _acquired(lock)):
                yield True
                return
            if main and not waited:
                session.log(f"{directory}: another process is training this run; waiting for it")
            waited = True
        yield False
    finally:
        lock.release()


def _acquired(lock: FileLock) -> bool:
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
