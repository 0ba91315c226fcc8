"""Several ranks training one network: their process group, reductions, and moving averages.

Under one rank (a world of size 1) every function here does nothing. Several come from ``torchrun``
or any launcher that sets its environment variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bn_repro.training.lost_rank import RankLost, watched_ranks
from bn_repro.training.world import World


@dataclass
class Group:
    """A process group in use; ``failed``: this rank has met an error."""

    failed: bool = False
    record: Callable[[RankLost], object] = field(default=lambda error: None)
    """What is done with the error of a rank that does not answer, before this one ends."""

    def leave(self, error: RankLost) -> None:
        """End this process at once, from whichever thread: the main one may wait for that rank."""
        self.record(error)
        if sys.stdout.isatty():
            print("\x1b[?25h", end="", flush=True)  # the cursor, which a live view hides
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def process_group(world: World, device: torch.device) -> Iterator[Group]:
    """The default group of torch.distributed while several ranks work: NCCL on GPUs, else gloo.

    A rank that failed does not destroy an NCCL group: that would wait for the other ranks, which
    may be waiting for it in the middle of a step. They notice when its process ends. Raises
    ConnectionError where the ranks do not meet.
    """
    group = Group()
    if world.size == 1:
        yield group
        return
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # NCCL gathers objects there; by default on GPU 0
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
    except dist.DistError as error:  # with PyTorch's own stack in its text
        raise ConnectionError(
            f"rank {world.rank} of {world.size} did not meet the others at MASTER_ADDR="
            f"{os.environ.get('MASTER_ADDR')}: {str(error).splitlines()[0]}"
        ) from error
    try:
        with watched_ranks(world, group.leave):
            yield group
    except BaseException:
        group.failed = True
        raise
    finally:
        if not (group.failed and device.type == "cuda"):
            dist.destroy_process_group()


def total(values: torch.Tensor, world: World) -> torch.Tensor:
    """The sum of ``values`` over ranks, on every rank."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def union(lines: Sequence[str], world: World) -> list[str]:
    """The lines of all ranks, each once; all ranks must ask together."""
    gathered: list[Sequence[str]] = [lines] * world.size
    if world.size > 1:
        dist.all_gather_object(gathered, list(lines))
    return list(dict.fromkeys(line for of_rank in gathered for line in of_rank))


def barrier(world: World) -> None:
    """Wait for all ranks."""
    if world.size > 1:
        dist.barrier()


def replicated(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """``model`` with gradients averaged over ranks; each rank keeps its own moving averages."""
    if world.size == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


def _moving_averages(model: nn.Module) -> list[torch.Tensor]:
    """What a model keeps besides its parameters, of any norm."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    kept = model.state_dict().items()
    return [v for name, v in kept if name not in parameters and v.is_floating_point()]


def _flat_moving_averages(model: nn.Module) -> torch.Tensor:
    buffers = _moving_averages(model)
    return torch.cat([torch.empty(0), *(buffer.flatten().cpu() for buffer in buffers)])


def _set_moving_averages(model: nn.Module, values: torch.Tensor) -> None:
    buffers = _moving_averages(model)
    parts = values.split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))


def gather_moving_averages(model: nn.Module, world: World) -> list[torch.Tensor]:
    """Each rank's moving averages, flat, in the order of ranks; empty for a single rank."""
    if world.size == 1:
        return []
    gathered: list[torch.Tensor] = [torch.empty(0)] * world.size
    dist.all_gather_object(gathered, _flat_moving_averages(model))
    return gathered


def load_moving_averages(model: nn.Module, replicas: list[torch.Tensor], world: World) -> None:
    """Restore this rank's own moving averages, from those of all ``replicas``."""
    if replicas:
        _set_moving_averages(model, replicas[world.rank])


@contextmanager
def mean_of_replicas(model: nn.Module, world: World) -> Iterator[None]:
    """Within: the network of all ranks, with the mean of their moving averages."""
    if world.size == 1:
        yield
        return
    own = _flat_moving_averages(model)
    _set_moving_averages(model, torch.stack(gather_moving_averages(model, world)).mean(0))
    try:
        yield
    finally:
        _set_moving_averages(model, own)
