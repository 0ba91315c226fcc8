"""From a configuration to a network and its data: the tables of what there is, by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import nn

from bn_repro import norm
from bn_repro.config.compose import compose
from bn_repro.config.schema import Config, DataConfig, ModelConfig
from bn_repro.data import imagenet, mnist, synthetic
from bn_repro.data.augment import Preprocessing
from bn_repro.data.batches import Data, steps_per_epoch
from bn_repro.models.inception import Inception
from bn_repro.models.mlp import MLP
from bn_repro.records import paths
from bn_repro.training.activations import sites_of
from bn_repro.training.world import World

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
        hidden=m.hidden if m.depth is None else m.hidden[:1] * m.depth,
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


def _preprocessing(config: Config) -> Preprocessing:
    d = config.data
    return Preprocessing(
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
        _preprocessing(config),
        size=d.image_size,
        workers=d.workers,
        on_error=d.on_error,
    )


def _tiny_imagenet(config: Config) -> Data:
    d = config.data
    return imagenet.tiny_imagenet(
        _root(config),
        _preprocessing(config),
        size=d.image_size,
        cache_dir=d.cache,
        on_error=d.on_error,
    )


def _image_folder(config: Config) -> Data:
    d = config.data
    return imagenet.image_folder(
        _root(config),
        _preprocessing(config),
        size=d.image_size,
        workers=d.workers,
        cache_dir=d.cache,
        on_error=d.on_error,
    )


def _synthetic(config: Config) -> Data:
    d = config.data
    return synthetic.synthetic(
        _preprocessing(config),
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


COMMON = {
    "name",
    "norm",
    "norm_eps",
    "norm_momentum",
    "nonlinearity",
    "init",
    "init_std",
    "dropout",
}
MODEL_KEYS = {
    "mlp": COMMON | {"hidden", "depth"},
    "inception": COMMON
    | {"init_gain", "width", "lrn", "pool_projection", "separable_stem", "auxiliary"}
    | {"per_activation_modules"},
}
IMAGES = {"name", "image_size", "shuffling", "augmentation", "photometric", "root", "workers"}
DATA_KEYS = {
    "mnist_binary": {"name", "held_out", "limit", "shuffling"},
    "mnist": {"name", "held_out", "limit", "shuffling", "root"},
    "imagenet": IMAGES | {"on_error"},
    "tiny_imagenet": IMAGES | {"on_error", "cache"},
    "image_folder": IMAGES | {"on_error", "cache"},
    "synthetic": IMAGES | {"classes", "train_images"},
}
"""What each takes of its section: a setting that would be ignored is refused, not believed."""
OF_A_SCALE = {"classes", "train_images", "image_size"}
"""What a scale sets for a data set that another choice of ``data=`` may not need."""
IDLE = {
    "init_std": ("init", "he"),
    "norm_eps": ("norm", "none"),
    "norm_momentum": ("norm", "none"),
    "per_activation_modules": ("norm", "none"),
}
"""Settings of a model that have no effect where another has this value."""


def known(key: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry ``name`` of a table, or a ValueError that lists what there is."""
    if name not in table:
        raise ValueError(f"{key}: {name!r} is unknown; one of {', '.join(table)}")
    return table[name]


def check(config: Config) -> None:
    """What the schema alone cannot know: names are in the tables, and no setting is ignored."""
    if not config.experiment:
        raise ValueError(
            "nothing to train: give experiment=... or study=..., for example "
            "experiment=mnist/bn (configs/experiment and configs/study hold all)"
        )
    known("model.norm", config.model.norm, NORMS)
    known("model.name", config.model.name, MODELS)
    known("data.name", config.data.name, DATASETS)
    for section, used in (
        ("model", MODEL_KEYS[config.model.name]),
        ("data", DATA_KEYS[config.data.name] | {"root", "cache", "workers"}),
    ):
        part = getattr(config, section)
        default = type(part)()
        for f in fields(part):
            value, usual = getattr(part, f.name), getattr(default, f.name)
            if f.name in used or value == usual:
                continue
            if section == "data" and f.name in OF_A_SCALE:
                usual = getattr(_usual(config.experiment, config.scale), f.name)
            if value != usual:
                raise ValueError(
                    f"{section}.{f.name}: {part.name} has no such setting; "
                    f"leave it at {usual!r}, not {value!r}"
                )
    for key, (other, idle) in IDLE.items():
        value, usual = getattr(config.model, key), getattr(ModelConfig(), key)
        if getattr(config.model, other) == idle and value != usual:
            raise ValueError(
                f"model.{key}: has no effect where model.{other} is {idle!r}; "
                f"leave it at {usual!r}, not {value!r}"
            )
    if config.model.name == "mlp" and config.model.init != "gaussian":
        raise ValueError(f"model.init: {config.model.init!r} is not for mlp; it draws a gaussian")


@cache
def _usual(experiment: str, scale: str) -> DataConfig:
    """The data that an experiment has at a scale."""
    return compose([f"experiment={experiment}", f"scale={scale}"]).data


def device_of(config: Config, world: World) -> torch.device:
    """The device asked for; ``auto`` takes a GPU where there is one."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use device=auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: 'mps' was asked for, but torch sees none; use device=auto")
    if config.train.engine == "graphed" and (name != "cuda" or world.size > 1):
        raise ValueError(
            f"train.engine: 'graphed' is for a GPU and one rank, here are {name} and {world.size}; "
            "use train.engine=eager"
        )
    if name != "cuda":
        return torch.device(name)
    if world.local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"device: rank {world.local_rank} of this machine finds {torch.cuda.device_count()} "
            "GPU(s); start no more ranks than there are GPUs to be seen, or give device=cpu"
        )
    return torch.device(name, world.local_rank)


def configure_torch(config: Config) -> None:
    """The cores that this process has, and what float32 means in it: all of its digits.

    By itself cuDNN rounds what a convolution takes to 10 bits of the 23 (TF32), and a run would be
    another one on a GPU.
    """
    torch.set_num_threads(config.threads)
    torch.backends.cudnn.allow_tf32 = False


def build(config: Config) -> tuple[nn.Module, Data]:
    """The network, its weights drawn from the seed alone, and the data; both on the CPU."""
    with in_memory("data"):
        data = known("data.name", config.data.name, DATASETS)(config)
    return network(config, data), data


@contextmanager
def in_memory(what: str) -> Iterator[None]:
    """ValueError where memory does not suffice for what is made within."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "allocate memory" not in str(error):
            raise
        raise ValueError(
            f"{what}: too large for the memory of this machine; make it smaller"
        ) from error


def network(config: Config, data: Data) -> nn.Module:
    """The network for the examples and classes of ``data``."""
    normalization = known("model.norm", config.model.norm, NORMS)(
        eps=config.model.norm_eps, momentum=config.model.norm_momentum
    )
    generator = torch.Generator().manual_seed(config.seed)
    if (config.model.name == "mlp") != (len(data.shape) == 1):
        raise ValueError(
            f"data.name: {data.name} has examples of shape {data.shape}, which model.name="
            f"{config.model.name} does not take; flat images are for mlp, (3, H, W) for inception"
        )
    make = known("model.name", config.model.name, MODELS)
    with in_memory("model"):
        return make(config, data, normalization, generator)


def fit(config: Config, model: nn.Module, data: Data, world: World) -> None:
    """ValueError where this network cannot take a step on a mini-batch of these data."""
    sites_of(model, config.train.trace_sites)
    missing = set(config.train.final_splits) - set(data.splits)
    if missing:
        raise ValueError(
            f"train.final_splits: {data.name} has no split {', '.join(sorted(missing))}; "
            f"it has {', '.join(data.splits)}"
        )
    if config.train.polyak and world.size > 1:
        raise ValueError(
            "train.polyak: an average of one rank's network, here are "
            f"{world.size} ranks; leave it at 0.0"
        )
    steps_per_epoch(data.splits["train"], config.train.batch_size * world.size)
    split = paths.monitored_split(data.splits)
    if data.splits[split] < world.size:
        raise ValueError(
            f"data: {data.name} has {data.splits[split]} examples in {split}, by which a run is "
            f"followed; each of {world.size} rank(s) needs one"
        )
    if config.train.batch_size == 1:
        try:
            copy.deepcopy(model).train()(torch.zeros(1, *data.shape))
        except ValueError as error:
            raise ValueError(f"train.batch_size: {error}") from error
