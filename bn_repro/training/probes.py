"""Measurements that need the network itself, at the steps that are traced (``train.probes``).

A probe is a function of the network and of some fixed images; it leaves the network as it was. Its
rows go to ``probes.jsonl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from bn_repro.training import shift_probe, weight_probes
from bn_repro.training.activations import PERCENTILES, Row, record_activations, sites_of
from bn_repro.training.evaluate import Pairs, scores

IMAGES = 1_000
"""How many images of the monitored split a probe sees, at most."""


def activations(model: nn.Module, images: Pairs) -> Iterator[Row]:
    """The percentiles of each site's inputs in inference mode; of the last site each unit's too.

    In training mode a mini-batch's own statistics hold its distribution in place. In inference mode
    the network is a fixed function of its input (sec. 3.1), and the images are the same each time.
    ``images`` is one mini-batch.
    """
    sites = sites_of(model, None)
    with record_activations(sites) as recorder:
        for _ in scores(model, images):
            pass
    for row in recorder.rows(0):
        if row["unit"] is None:
            yield {key: row[key] for key in ("site", "unit", "p15", "p50", "p85")}
    last, x = list(recorder.inputs.items())[-1]
    by_unit = x.float().transpose(0, 1).flatten(1)
    ends = torch.quantile(by_unit, x.new_tensor(PERCENTILES), dim=1).T.tolist()
    for unit, (low, middle, high) in enumerate(ends):
        yield {"site": last, "unit": unit, "p15": low, "p50": middle, "p85": high}


PROBES: dict[str, Callable[[nn.Module, Pairs, float], Iterator[Row]]] = {
    "activations": lambda model, images, rate: activations(model, images),
    "scale": lambda model, images, rate: weight_probes.scale(model, next(iter(images))),
    "weights": lambda model, images, rate: weight_probes.weights(model, next(iter(images))),
    "jacobians": lambda model, images, rate: weight_probes.jacobians(model, next(iter(images))),
    "shift": lambda model, images, rate: shift_probe.shift(model, next(iter(images)), rate),
}
"""Those that ``config.schema.PROBES`` names."""


def measure(
    names: Sequence[str], step: int, model: nn.Module, images: Pairs, rate: float
) -> list[Row]:
    """The rows of the probes ``names`` at ``step``, each with the ``probe``'s name.

    ``rate`` is the learning rate at that step.
    """
    images = list(images)  # an iterator serves one probe
    return [
        {"step": step, "probe": name, **row}
        for name in names
        for row in PROBES[name](model, images, rate)
    ]
