"""Measurements that need the network itself, at the steps that are traced (``train.probes``).

A probe is a function of the network and of a sample of images; it leaves the network as it was. Its
rows go to ``probes.jsonl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bn_repro.config.schema import Config, TrainConfig
from bn_repro.data.batches import Data, Picture, steps_per_epoch
from bn_repro.models.recurrent import Recurrent
from bn_repro.norm import BatchNorm, is_synchronized
from bn_repro.records import paths
from bn_repro.training import shift_probe, weight_probes
from bn_repro.training.activations import NAMES, PERCENTILES, Row, record_activations, sites_of
from bn_repro.training.adaptation_probe import adaptation
from bn_repro.training.cost_probe import cost
from bn_repro.training.evaluate import Pairs, scores
from bn_repro.training.population_batches import population_batches
from bn_repro.training.session import Session
from bn_repro.training.state_probe import state_gradients
from bn_repro.training.statistics_probe import statistics
from bn_repro.training.world import World

IMAGES = 1_000
"""How many images of the monitored split most probes see, at most."""


@dataclass(frozen=True)
class Sample:
    """The images that probes see, the same ones at each step; read when a probe asks."""

    few: Callable[[], tuple[Tensor, Tensor]]
    """One mini-batch of the monitored split."""
    split: Callable[[int], Pairs]
    """All that the run evaluates of that split, in mini-batches of a size."""
    training: Callable[[int], Iterator[Tensor]]
    """So many training mini-batches, of the run's size."""
    at: TrainConfig
    """The sizes of the run's mini-batches, in training and in evaluation."""
    epoch: int
    """How many training mini-batches an epoch has."""
    rate: float
    """The learning rate at this step."""
    picture: Picture
    """An image's shape, and its black and its white."""


def sample(config: Config, data: Data, split: str, session: Session, rate: float) -> Sample:
    """What the probes of a run see; ``data.eval_limit`` bounds ``split``, IMAGES bounds ``few``."""

    def images(batch_size: int, limit: int | None = config.data.eval_limit) -> Pairs:
        return data.eval_batches(split, batch_size=batch_size, device=session.device, limit=limit)

    return Sample(
        few=lambda: next(iter(images(IMAGES, IMAGES))),
        split=images,
        training=lambda count: population_batches(config, data, session, count),
        at=config.train,
        epoch=steps_per_epoch(data.splits["train"], config.train.batch_size),
        rate=rate,
        picture=data.picture,
    )


NORM_BEFORE = ("scale", "weights", "jacobians")
"""Probes of layers y = norm(Wu), z = g(y)."""
FEEDFORWARD = (*NORM_BEFORE, "shift")
"""Probes of networks whose layers have weights of their own."""
PER_EXAMPLE = ("layer", "group", "instance")
"""Norms with statistics of each example."""
RECURRENT = ("state_gradients",)
"""Probes of recurrent networks."""


def check(config: Config, model: nn.Module, splits: Mapping[str, int], world: World) -> None:
    """ValueError where a probe does not serve for this network, on these data or these ranks."""
    at = config.train
    if at.probes and not (at.trace_every or at.trace_dense):
        raise ValueError(
            "train.probes: they measure where activations are traced, and train.trace_every=0 and "
            "train.trace_dense=0 trace nothing; give train.trace_every=250, or leave them out"
        )
    before = [name for name in config.train.probes if name in NORM_BEFORE]
    if before and config.model.norm_at != "before":
        raise ValueError(
            f"train.probes: for {', '.join(before)} model.norm_at must be before, not "
            f"{config.model.norm_at!r}; leave one of the two out"
        )
    others = FEEDFORWARD if config.model.name == "recurrent" else RECURRENT
    wrong = ", ".join(name for name in config.train.probes if name in others)
    if wrong:
        raise ValueError(
            f"train.probes: {wrong}: not for model.name={config.model.name!r}; leave it out"
        )
    if "jacobians" in config.train.probes and config.model.norm in PER_EXAMPLE:
        raise ValueError(
            "train.probes: jacobians takes the statistics of the mini-batch as constants, and "
            f"model.norm={config.model.norm} has statistics of each example; leave it out"
        )
    bn = any(isinstance(module, BatchNorm) for module in model.modules())
    if "statistics" in config.train.probes and not bn:
        raise ValueError(
            f"train.probes: statistics needs layers of BN, and model.norm={config.model.norm} has "
            "none; use model.norm=batch, or leave it out"
        )
    images = min(IMAGES, splits[paths.monitored_split(splits)])
    if "cost" in config.train.probes and config.train.batch_size > images:
        raise ValueError(
            f"train.probes: cost sees {images} images, too few for a mini-batch of "
            f"train.batch_size={config.train.batch_size}; lower that, or leave the probe out"
        )
    training = [name for name in config.train.probes if name != "activations"]
    if training and is_synchronized(model) and world.size > 1:
        raise ValueError(
            f"train.probes: one rank measures {', '.join(training)}, and "
            f"model.norm={config.model.norm} would wait for all {world.size}; use "
            "model.norm=batch, or leave the probes out"
        )


def activations(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Iterator[Row]:
    """The percentiles of each site's inputs in inference mode; of the last site each unit's too.

    In training mode a mini-batch's own statistics hold its distribution in place. In inference mode
    the network is a fixed function of its input (sec. 3.1), and the images are the same each time.
    """
    sites = sites_of(model, None)
    with record_activations(sites) as recorder:
        for _ in scores(model, [batch]):
            pass
    for row in recorder.rows(0):
        if row["unit"] is None:
            yield {key: row[key] for key in ("site", "unit", *NAMES)}
    last, x = list(recorder.inputs.items())[-1]
    by_unit = x.float().transpose(0, 1).flatten(1)
    ends = torch.quantile(by_unit, x.new_tensor(PERCENTILES), dim=1).T.tolist()
    for unit, percentiles in enumerate(ends):
        yield {"site": last, "unit": unit, **dict(zip(NAMES, percentiles, strict=True))}


PROBES: dict[str, Callable[[nn.Module, Sample], Iterator[Row]]] = {
    "activations": lambda model, seen: activations(model, seen.few()),
    "scale": lambda model, seen: weight_probes.scale(model, seen.few()),
    "weights": lambda model, seen: weight_probes.weights(model, seen.few()),
    "jacobians": lambda model, seen: weight_probes.jacobians(model, seen.few()),
    "shift": lambda model, seen: shift_probe.shift(model, seen.few(), seen.rate),
    "state_gradients": lambda model, seen: state_gradients(cast(Recurrent, model), seen.few()),
    "statistics": lambda model, seen: statistics(
        model, seen.split, seen.training, at=seen.at, epoch=seen.epoch
    ),
    "adaptation": lambda model, seen: adaptation(
        model,
        seen.split,
        seen.training,
        size=seen.at.eval_batch_size,
        epoch=seen.epoch,
        picture=seen.picture,
    ),
    "cost": lambda model, seen: cost(model, seen.few(), seen.at),
}
"""Those that ``config.schema.PROBES`` names."""


def measure(names: Sequence[str], step: int, model: nn.Module, seen: Sample) -> list[Row]:
    """The rows of the probes ``names`` at ``step``, each with the ``probe``'s name."""
    return [
        {"step": step, "probe": name, **row} for name in names for row in PROBES[name](model, seen)
    ]
