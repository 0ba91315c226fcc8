"""From a configuration to a network, its data and its device."""

from __future__ import annotations

import copy
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from bn_repro.config.dataset import (
    Cifar10Config,
    DigitsConfig,
    ImageFilesConfig,
    ImageNetConfig,
    ImagesConfig,
    MnistConfig,
    StoredImagesConfig,
    SyntheticConfig,
    TinyImageNetConfig,
)
from bn_repro.config.network import BATCH_NORMS, NORMS, InceptionConfig, MLPConfig, RecurrentConfig
from bn_repro.config.schema import Config
from bn_repro.data import cifar, imagenet, mnist, synthetic
from bn_repro.data.augment import Preprocessing
from bn_repro.data.batches import Data, Examples, steps_per_epoch
from bn_repro.data.subset import Subset
from bn_repro.models import recurrent
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception, InitialWeights
from bn_repro.models.mlp import MLP
from bn_repro.models.recurrent import Recurrent
from bn_repro.norm import BatchNorm, is_synchronized
from bn_repro.records import paths
from bn_repro.training import probes
from bn_repro.training.activations import sites_of
from bn_repro.training.norms import norm_errors_in_one_line, norm_of
from bn_repro.training.world import World, launched_world, loader_workers

NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def build(config: Config) -> tuple[nn.Module, Data]:
    """The network, its weights drawn from the seed alone, and the data; both on the CPU."""
    data = data_of(config)
    return network(config, data), data


def network(config: Config, data: Data | Examples) -> nn.Module:
    """The network for the examples and classes of ``data``."""
    m = config.model
    if m.flat != (len(data.shape) == 1):
        raise ValueError(
            f"data.name: {data.name} has examples of shape {data.shape}, which model.name="
            f"{m.name} does not take; mlp and recurrent take the flat digits of mnist_binary and "
            "mnist"
        )
    normalization = norm_of(m)
    nonlinearity = NONLINEARITIES[m.nonlinearity]
    generator = torch.Generator().manual_seed(config.seed)
    with in_memory("model"), norm_errors_in_one_line(m):
        if isinstance(m, MLPConfig):
            return MLP(
                norm=normalization,
                generator=generator,
                widths=[data.shape[0], *m.widths, data.classes],
                nonlinearity=nonlinearity,
                init_std=m.init_std,
                dropout=m.dropout,
            )
        if isinstance(m, RecurrentConfig):
            return Recurrent(
                _steps(m, data),
                norm=normalization,
                generator=generator,
                nonlinearity=nonlinearity,
                init_std=m.init_std,
            )
        assert isinstance(m, InceptionConfig)
        model = Inception(
            _shape(m, data),
            norm=normalization,
            nonlinearity=nonlinearity,
            weights=InitialWeights(m.init, m.init_std, m.init_gain, m.classifier_std, m.init_bias),
            generator=generator,
        )
        # Also on the CPU: a step of width 0.5 at 64x64 takes two thirds of the time.
        return model.to(memory_format=torch.channels_last)


def _steps(m: RecurrentConfig, data: Data | Examples) -> recurrent.Shape:
    """A step for each row of a flat image; ValueError for one that is no square."""
    side = math.isqrt(data.shape[0])
    picture = (1, side, side) if isinstance(data, Examples) else data.picture.shape
    if side**2 != data.shape[0] or picture[-2:] != (side, side):
        raise ValueError(
            f"data.name: {data.name} has images of {data.shape[0]} pixels, and model.name="
            "recurrent reads square ones"
        )
    return recurrent.Shape(
        steps=side,
        pixels=side,
        units=m.units,
        classes=data.classes,
        order=cast(recurrent.Order, m.order),
        statistics=cast(recurrent.Statistics, m.statistics),
        dropout=m.dropout,
    )


def _shape(m: InceptionConfig, data: Data | Examples) -> Shape:
    return Shape(
        classes=data.classes,
        image_size=data.shape[-1],
        width=m.width,
        modules=None if m.modules is None else tuple(m.modules),
        lrn=m.lrn,
        pool_projection=m.pool_projection,
        separable_stem=m.separable_stem,
        auxiliary=m.auxiliary,
        per_activation_modules=m.per_activation_modules,
        dropout=m.dropout,
    )


def data_of(config: Config) -> Data:
    """The data set, on the CPU: digits are flat, or coloured for Inception."""
    d = config.data
    with in_memory("data"):
        if isinstance(d, DigitsConfig):
            return _digits(d, config.seed, coloured=not config.model.flat)
        assert isinstance(d, ImagesConfig)
        return _images(d, config.seed)


def _digits(d: DigitsConfig, seed: int, coloured: bool) -> Data:
    part = mnist.Part(d.held_out, d.limit, limit_seed=seed, shuffling=d.shuffling)
    if isinstance(d, MnistConfig):
        return mnist.mnist_grey(d.root, part, coloured=coloured)
    return mnist.mnist_binary(part, coloured=coloured)


def _images(d: ImagesConfig, seed: int) -> Data:
    preprocessing = Preprocessing(d.shuffling, d.augmentation, d.photometric)
    if isinstance(d, SyntheticConfig):
        size, n = d.image_size, d.train_images
        return synthetic.synthetic(
            preprocessing, classes=d.classes, size=size, train_images=n, val_images=n // 4
        )
    assert isinstance(d, StoredImagesConfig)
    part = Subset(d.classes, d.held_out, d.limit, seed)
    if isinstance(d, Cifar10Config):
        return cifar.cifar10(d.folder(), preprocessing, part=part, download=d.download)
    assert isinstance(d, ImageFilesConfig)
    shared = {"part": part, "size": d.image_size, "on_error": d.on_error}
    workers = loader_workers(d.workers, launched_world().local_size)
    if isinstance(d, ImageNetConfig):
        return imagenet.imagenet(d.folder(), preprocessing, workers=workers, **shared)
    if isinstance(d, TinyImageNetConfig):
        return imagenet.tiny_imagenet(
            d.folder(), preprocessing, cache_dir=d.cache, download=d.download, **shared
        )
    return imagenet.image_folder(
        d.folder(), preprocessing, workers=workers, cache_dir=d.cache, **shared
    )


@contextmanager
def in_memory(what: str) -> Iterator[None]:
    """Within this block, running out of memory is a ValueError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and "allocate memory" not in str(error):
            raise
        raise ValueError(
            f"{what}: too large for the memory of this machine; make it smaller"
        ) from error


def device_of(config: Config, world: World) -> torch.device:
    """The device asked for; ``auto`` takes a GPU where there is one, for Inception."""
    name = config.device
    if name == "auto":
        name = "cuda" if config.takes_gpu and torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use device=auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: 'mps' was asked for, but torch sees none; use device=auto")
    if name != "cuda":
        return torch.device(name)
    if world.local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"device: rank {world.local_rank} of this machine finds {torch.cuda.device_count()} "
            "GPU(s); start no more ranks than there are GPUs to be seen, or give device=cpu"
        )
    return torch.device(name, world.local_rank)


def configure_torch(config: Config) -> None:
    """Set the number of threads, and turn TF32 off.

    By default cuDNN rounds a convolution's inputs to 10 of their 23 bits (TF32), and so does cuBLAS
    where the environment says so: a GPU would give other results.
    """
    torch.set_num_threads(config.threads)
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # both libraries read it when they begin
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Keep freed blocks of up to 32 MB (the C library's limit for it) in this process.

    A step frees what the next one takes. Given back to the system in between, it comes as new
    pages, each zeroed: at 64x64, batch 32 and width 0.5, 6,000 a step, 15 % of its time on one
    core. Other C libraries have no mallopt; the peak of memory is the same.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def validate(config: Config, model: nn.Module, data: Data, world: World) -> None:
    """ValueError where this network cannot take a step on a mini-batch of these data."""
    traced = sites_of(model, config.train.trace_sites)
    unknown = set(config.train.trace_units).difference(traced)
    if unknown:
        raise ValueError(
            f"train.trace_units: no {', '.join(sorted(unknown))} among what is traced, "
            f"{', '.join(traced)}"
        )
    if data.classes < 2:
        raise ValueError(f"data: {data.name} has a single class, so there is nothing to learn")
    missing = set(config.train.final_splits) - set(data.splits)
    if missing:
        raise ValueError(
            f"train.final_splits: {data.name} has no split {', '.join(sorted(missing))}; "
            f"it has {', '.join(data.splits)}"
        )
    probes.check(config, model, data.splits, world)
    if config.train.polyak and world.size > 1:
        raise ValueError(
            f"train.polyak: works with one rank, and here are {world.size}; leave it at 0.0"
        )
    steps_per_epoch(data.splits["train"], config.train.batch_size * world.size)
    split = paths.monitored_split(data.splits)
    monitored = min(data.splits[split], config.data.eval_limit or data.splits[split])
    if monitored < world.size:
        raise ValueError(
            f"data: {data.name} has {monitored} examples in {split}, which a run "
            f"monitors; each of {world.size} rank(s) needs one"
        )
    _try_a_mini_batch(config, model, data, world)


def _try_a_mini_batch(config: Config, model: nn.Module, data: Data, world: World) -> None:
    """ValueError where there is no variance: BN of one example, another norm of one pixel."""
    joined = config.train.batch_size * (world.size if is_synchronized(model) else 1)
    kind, size = config.model.norm, min(joined, 2)
    if size > 1 and kind in ("none", *BATCH_NORMS):
        return
    trial = copy.deepcopy(model).train()
    for module in trial.modules():
        if isinstance(module, BatchNorm):  # it would wait for the other ranks, on their devices
            module.synchronized = False
    try:
        with norm_errors_in_one_line(config.model):
            trial(torch.zeros(size, *data.shape))
    except ValueError as error:
        if kind not in NORMS:
            raise
        key = "train.batch_size" if kind in BATCH_NORMS else "model.norm"
        raise ValueError(f"{key}: {error}") from error
