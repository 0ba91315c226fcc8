"""A probe of what the network costs: time and memory of a mini-batch, with BN and with it folded.

The paper counts training steps; how long a step takes with BN, it does not say.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bn_repro.config.schema import TrainConfig
from bn_repro.norm import BatchNorm, fold
from bn_repro.training.activations import Row
from bn_repro.training.eager import Eager
from bn_repro.training.precision import autocast
from bn_repro.training.sgd import SGD

SECONDS = 1.2
"""How long the rounds of one measurement go on, in all; and how many there are at least."""
ROUNDS = 10
WARM_UP = 3
"""Calls of each kind before the first round, while libraries choose kernels and allocate."""


def cost(model: nn.Module, batch: tuple[Tensor, Tensor], at: TrainConfig) -> Iterator[Row]:
    """One row, of a mini-batch of the run's size out of ``batch``.

    :func:`~bn_repro.training.probes.check` refuses a run whose mini-batch is larger than
    ``batch``. Files in quarantine are left out of ``batch``, and may make the mini-batch smaller.

    - ``training_seconds``: of a step of the engine ``eager``: forward, backward and the update of
      plain SGD, at rate 0. ``inference_seconds``: of the logits in eval mode.
    - ``training_folded_seconds``, ``inference_folded_seconds``: the same where BN is folded into
      the layers before it (Algorithm 2, line 11), which leaves the layers of the network without
      BN. Not given where there is no BN, or where one cannot be folded.
    - ``kept_bytes``: what autograd keeps of a step's forward pass for its backward pass, each
      storage once, besides parameters, buffers and the mini-batch, which are there anyway.
    - ``parameter_bytes``, ``buffer_bytes``.

    A time is the median over rounds, in each of which every kind has its turn, so that what
    disturbs the machine falls on all alike. The median, since it does not depend on how many rounds
    there are, as the least time does.
    """
    x, y = (part[: at.batch_size] for part in batch)
    with torch.random.fork_rng([x.device] if x.is_cuda else []):  # dropout draws
        own = copy.deepcopy(model)
        step = eager(own, at)
        row: Row = {
            "kept_bytes": kept_bytes(step, x, y),
            "parameter_bytes": sum(p.nbytes for p in own.parameters()),
            "buffer_bytes": sum(b.nbytes for b in own.buffers()),
        }
        work = {"training": lambda: step(x, y), "inference": inference(own, x, at)}
        without = folded(own)
        if without is not None:
            other = eager(without, at)
            work["training_folded"] = lambda: other(x, y)
            work["inference_folded"] = inference(without, x, at)
        yield row | {f"{k}_seconds": s for k, s in medians(work, clock_of(x.device)).items()}


def eager(model: nn.Module, at: TrainConfig) -> Eager:
    """A step that computes all that training does, and leaves the weights where they are."""
    parameters = {"params": list(model.parameters()), "weight_decay": 0.0}
    return Eager(model.train(), SGD([parameters], lr=0.0), at.precision)


def inference(model: nn.Module, x: Tensor, at: TrainConfig) -> Callable[[], object]:
    """The logits of a copy of ``model`` in eval mode."""
    copied = copy.deepcopy(model).eval()

    def logits() -> object:
        with torch.inference_mode(), autocast(x.device, at.precision):
            return copied(x)

    return logits


def folded(model: nn.Module) -> nn.Module | None:
    """A copy without BN, into whose layers it is folded; None where that leaves or finds none."""
    copied = copy.deepcopy(model).eval()
    if not any(isinstance(m, BatchNorm) for m in copied.modules()):
        return None
    found = fold(copied)
    return None if any(isinstance(m, BatchNorm) for m in found.modules()) else found


def kept_bytes(step: Eager, x: Tensor, y: Tensor) -> int:
    """The bytes of all storages that the forward pass of a step leaves to its backward pass."""
    there = [*step.model.parameters(), *step.model.buffers(), x, y]
    before = {tensor.untyped_storage().data_ptr() for tensor in there}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()  # alive until its backward: no two at a place
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step(x, y)
    return sum(size for place, size in kept.items() if place not in before)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds: on the CPU those of this process, all its threads together, so that other processes
    on the machine do not count; else those that pass until the device has finished."""
    if device.type == "cpu":
        return time.process_time

    def finished() -> float:
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    return finished


def medians(
    work: Mapping[str, Callable[[], object]], clock: Callable[[], float]
) -> dict[str, float]:
    """The median seconds of each kind, over rounds in which each has its turn.

    A turn is two calls, of which the second is timed: the first finds the caches as another kind
    left them.
    """
    for call in work.values():
        for _ in range(WARM_UP):
            call()
    taken: dict[str, list[float]] = {name: [] for name in work}
    start, rounds = clock(), 0
    while rounds < ROUNDS or clock() - start < SECONDS:
        for name, call in work.items():
            call()
            before = clock()
            call()
            taken[name].append(clock() - before)
        rounds += 1
    return {name: statistics.median(times) for name, times in taken.items()}
