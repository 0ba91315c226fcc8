"""From a configuration to a finished run directory."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from torch import nn

from bn_repro import norm, rundir
from bn_repro.config import Config, run_id
from bn_repro.data import imagenet, mnist, synthetic
from bn_repro.data.augment import Presentation
from bn_repro.data.batches import Data, steps_per_epoch
from bn_repro.distributed import (
    StopFlag,
    World,
    anywhere,
    barrier,
    launched_world,
    process_group,
)
from bn_repro.mirror import WandbMirror
from bn_repro.models.inception import Inception
from bn_repro.models.mlp import MLP
from bn_repro.record import (
    Mirror,
    NoMirror,
    NoRecord,
    Record,
    Recorder,
    manifest,
    read_json,
    write_json,
    write_status,
)
from bn_repro.train import Outcome, Progress, sites_of, train

NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}

NORMS: dict[str, Callable[..., norm.Norm]] = {
    "none": norm.none,
    "batch": norm.batch,
    "sync_batch": norm.sync_batch,
}


def _mlp(config: Config, data: Data, normalization: norm.Norm, g: torch.Generator) -> nn.Module:
    m = config.model
    return MLP(
        norm=normalization,
        generator=g,
        in_features=data.shape[0],
        hidden=m.hidden,
        classes=data.classes,
        nonlinearity=NONLINEARITIES[m.nonlinearity],
        init_std=m.init_std,
        dropout=m.dropout,
    )


def _inception(
    config: Config, data: Data, normalization: norm.Norm, g: torch.Generator
) -> nn.Module:
    m = config.model
    model = Inception(
        norm=normalization,
        generator=g,
        classes=data.classes,
        image_size=data.shape[-1],
        nonlinearity=NONLINEARITIES[m.nonlinearity],
        dropout=m.dropout,
        lrn=m.lrn,
        width=m.width,
        pool_projection_4cd=m.pool_projection,
        separable_stem=m.separable_stem,
        auxiliary=m.auxiliary,
        per_activation_last=m.per_activation_modules,
        init=m.init,
        init_std=m.init_std,
        init_gain=m.init_gain,
    )
    # Also on the CPU: a step of width 0.5 at 64x64 takes two thirds of the time.
    return model.to(memory_format=torch.channels_last)


MODELS: dict[str, Callable[[Config, Data, norm.Norm, torch.Generator], nn.Module]] = {
    "mlp": _mlp,
    "inception": _inception,
}


def _mnist_binary(config: Config) -> Data:
    return mnist.mnist_binary(**_mnist_part(config))


def _mnist(config: Config) -> Data:
    return mnist.mnist_grey(config.data.root, **_mnist_part(config))


def _mnist_part(config: Config) -> dict[str, Any]:
    d = config.data
    return {
        "held_out": d.held_out,
        "limit": d.limit,
        "limit_seed": config.seed,
        "shuffling": d.shuffling,
    }


def _presentation(config: Config) -> Presentation:
    d = config.data
    return Presentation(
        shuffling=d.shuffling,
        augmentation=d.augmentation,
        photometric=d.photometric,
        channels_last=True,
    )


def _root(config: Config) -> str:
    if config.data.root is None:
        raise ValueError(f"data.root: data={config.data.name} needs it; give the set's folder")
    return config.data.root


def _imagenet(config: Config) -> Data:
    d = config.data
    return imagenet.imagenet(
        _root(config),
        _presentation(config),
        size=d.image_size,
        workers=d.workers,
        on_error=d.on_error,
    )


def _tiny_imagenet(config: Config) -> Data:
    d = config.data
    return imagenet.tiny_imagenet(
        _root(config),
        _presentation(config),
        size=d.image_size,
        cache_dir=d.cache,
        on_error=d.on_error,
    )


def _image_folder(config: Config) -> Data:
    d = config.data
    return imagenet.image_folder(
        _root(config),
        _presentation(config),
        size=d.image_size,
        workers=d.workers,
        cache_dir=d.cache,
        on_error=d.on_error,
    )


def _synthetic(config: Config) -> Data:
    d = config.data
    return synthetic.synthetic(
        _presentation(config),
        classes=d.classes,
        size=d.image_size,
        train_images=d.train_images,
        val_images=d.train_images // 4,
    )


DATASETS: dict[str, Callable[[Config], Data]] = {
    "mnist_binary": _mnist_binary,
    "mnist": _mnist,
    "imagenet": _imagenet,
    "tiny_imagenet": _tiny_imagenet,
    "image_folder": _image_folder,
    "synthetic": _synthetic,
}


def known(key: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry ``name`` of a table, or a ValueError that lists what there is."""
    if name not in table:
        raise ValueError(f"{key}: {name!r} is unknown; one of {', '.join(table)}")
    return table[name]


def check(config: Config) -> None:
    """What the schema alone cannot know: that names are in the tables."""
    if not config.experiment:
        raise ValueError(
            "nothing to train: give experiment=... or study=..., for example "
            "experiment=mnist/bn (configs/experiment and configs/study hold all)"
        )
    known("model.name", config.model.name, MODELS)
    known("model.norm", config.model.norm, NORMS)
    known("data.name", config.data.name, DATASETS)


def directory_of(config: Config, world: int = 1) -> Path:
    """Where the run of this configuration lives."""
    return rundir.run_directory(config.runs, config.experiment, run_id(config, world), config.seed)


def device_of(config: Config, world: World) -> torch.device:
    """The device asked for; ``auto`` takes a GPU where there is one."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use device=auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: 'mps' was asked for, but torch sees none; use device=auto")
    return torch.device(name, world.local_rank) if name == "cuda" else torch.device(name)


def build(config: Config) -> tuple[nn.Module, Data]:
    """The network, its weights drawn from the seed alone, and the data; both on the CPU."""
    data = known("data.name", config.data.name, DATASETS)(config)
    normalization = known("model.norm", config.model.norm, NORMS)(
        eps=config.model.norm_eps, momentum=config.model.norm_momentum
    )
    generator = torch.Generator().manual_seed(config.seed)
    model = known("model.name", config.model.name, MODELS)(config, data, normalization, generator)
    return model, data


def mirror_of(config: Config) -> Mirror:
    """Where the run is shown besides its directory."""
    w, name = config.wandb, run_id(config)
    if w.mode == "disabled":
        return NoMirror()
    return WandbMirror(
        mode=w.mode,
        project=w.project,
        entity=w.entity,
        folder=Path(w.dir or config.runs),
        run_id=f"{config.experiment}-{name}-seed{config.seed}".replace("/", "-"),
        name=f"{config.experiment} seed {config.seed}",
        group=config.experiment,
        tags=[config.model.name, config.model.norm, config.scale],
        config=asdict(config),
    )


def finished(directory: Path) -> Outcome | None:
    """The outcome of a run that has nothing left to do, or None."""
    status = read_json(directory / rundir.STATUS)
    if status is None or status["state"] not in ("completed", "diverged"):
        return None
    return Outcome(status["state"], status["step"], status["seconds"])


def run(
    config: Config,
    *,
    progress: Progress = lambda step, values: None,
    say: Callable[[str], None] = print,
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
    done = finished(directory)
    if done is not None and not config.force:
        say(f"{directory}: already {done.state} at step {done.step} (force=true starts over)")
        return done
    torch.set_num_threads(config.threads)
    model, data = build(config)
    sites_of(model, config.train.trace_sites)
    steps_per_epoch(data.splits["train"], config.train.batch_size * world.size)

    if world.main:
        _writable(directory)
    with _alone(directory, world, say), process_group(world, device):
        if world.main:
            if config.force and directory.exists():
                _move_aside(directory, say)
            done = finished(directory)
        if anywhere(done is not None, world, device):
            return finished(directory) or Outcome("failed", 0, 0.0, error="no status was written")
        if world.main:
            _same_data(directory, data)
            directory.mkdir(exist_ok=True)
            (directory / rundir.CONFIG).write_text(yaml.safe_dump(asdict(config), sort_keys=False))
            if not (directory / rundir.MANIFEST).exists():
                facts = manifest(
                    device=device, threads=config.threads, world=world.size, data=data.fingerprint
                )
                write_json(directory / rundir.MANIFEST, facts)
        barrier(world)

        def recorder_of(lengths: Mapping[str, int] | None) -> Record:
            return Recorder(directory, lengths, mirror_of(config)) if world.main else NoRecord()

        try:
            with (StopFlag() if stop is None else stop).listening() as flag:
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
                )
        except (Exception, KeyboardInterrupt) as error:
            return _failed(directory, error)


def _failed(directory: Path, error: BaseException) -> Outcome:
    """Leave the reason in the run's own directory, as far as the disk still takes it."""
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    status = read_json(directory / rundir.STATUS) or {"step": 0, "seconds": 0.0}
    state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
    try:
        write_status(directory, state, status["step"], status["seconds"], line)
        (directory / rundir.TRACEBACK).write_text("".join(traceback.format_exception(error)))
    except OSError as also:
        line += f" (and its record could not be written: {also})"
    return Outcome(state, status["step"], status["seconds"], error=line)


def _writable(directory: Path) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        rundir.lock_file(directory).touch()
    except OSError as error:
        raise ValueError(
            f"runs: cannot write to {directory.parent} ({error.strerror}); "
            f"give a writable folder with runs=..."
        ) from error


def _alone(
    directory: Path, world: World, say: Callable[[str], None]
) -> AbstractContextManager[object]:
    if not world.main:
        return nullcontext()
    lock = FileLock(rundir.lock_file(directory))
    try:
        lock.acquire(timeout=0)
        lock.release()
    except Timeout:
        say(f"{directory}: another process is training this run; waiting for it")
    return lock


def _move_aside(directory: Path, say: Callable[[str], None]) -> None:
    aside = directory.with_name(f"{directory.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    shutil.move(directory, aside)
    say(f"{directory}: the run before was moved to {aside.name}")


def _same_data(directory: Path, data: Data) -> None:
    before = read_json(directory / rundir.MANIFEST)
    if before is not None and before["data"] != data.fingerprint:
        raise ValueError(
            f"{directory}: the run was begun on data {before['data'][:16]}, but {data.name} is now "
            f"{data.fingerprint[:16]}; bring the data back, or start over with force=true"
        )
