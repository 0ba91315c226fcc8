"""The training loop, and the state that makes it resume exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bn_repro import checkpoint, rundir
from bn_repro.config import Config
from bn_repro.data.batches import Data
from bn_repro.distributed import (
    StopFlag,
    World,
    gather_moving_averages,
    load_moving_averages,
    mean_of_replicas,
    replicated,
    total,
)
from bn_repro.engine import ENGINES, autocast
from bn_repro.evaluate import evaluate
from bn_repro.norm import BatchNorm, population_statistics
from bn_repro.record import Record
from bn_repro.schedule import learning_rate
from bn_repro.throughput import Waiting
from bn_repro.trace import is_trace_step, tap

Progress = Callable[[int, Mapping[str, float]], None]
"""Told the step, and what was last measured: at most a few times a second."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its state, its last step, the seconds that it took in all."""

    state: str
    step: int
    seconds: float
    top1: float | None = None
    error: str | None = None


def train(
    config: Config,
    model: nn.Module,
    data: Data,
    directory: Path,
    *,
    device: torch.device,
    world: World,
    stop: StopFlag,
    recorder_of: Callable[[Mapping[str, int] | None], Record],
    progress: Progress,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Train ``model`` from its last checkpoint, or from the start, to the end or to a stop.

    ``model`` and ``data`` are on ``device``; ``recorder_of`` opens the records, cut back to the
    lengths that a checkpoint remembers. Ends ``completed``, ``diverged`` (a non-finite loss) or
    ``preempted``; errors pass through, with the records closed.
    """
    at = config.train
    optimizer = sgd(model, config)
    saved = checkpoint.load_latest(directory / rundir.CHECKPOINTS, device, say) or {}
    if saved:
        checkpoint.load_weights(model, saved["model"], directory / rundir.CHECKPOINTS)
        optimizer.load_state_dict(saved["optimizer"])
        load_moving_averages(model, saved["replicas"], world)
    done: int = saved.get("step", 0)
    last: dict[str, float] = saved.get("last", {})
    record = recorder_of(saved.get("lengths"))
    clock = time.perf_counter() - saved.get("seconds", 0.0)
    split = rundir.followed(data.splits)

    def save(step: int) -> None:
        replicas = gather_moving_averages(model, world)
        if world.main:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "replicas": replicas,
                "step": step,
                "seconds": time.perf_counter() - clock,
                "last": last,
                "lengths": record.lengths(),
            }
            checkpoint.save(directory / rundir.CHECKPOINTS, step, state)
            record.status("running", step, state["seconds"])

    def measure(step: int, statistics: str, of: str = split) -> dict[str, float]:
        batches = data.eval_batches(
            of,
            batch_size=at.eval_batch_size,
            rank=world.rank,
            world=world.size,
            device=device,
        )
        with autocast(device, at.precision), mean_of_replicas(model, world):
            found = evaluate(model, batches, world)
        record.metrics(step, of, statistics, found)
        return found

    def end(state: str, step: int) -> Outcome:
        seconds = time.perf_counter() - clock
        record.status(state, step, seconds)
        return Outcome(state, step, seconds, last.get("top1"))

    try:
        record.status("running", done, saved.get("seconds", 0.0))
        model.train()
        eager = replicated(model, world, device)
        eagerly = ENGINES["eager"](eager, optimizer, at.precision)
        compute = ENGINES[at.engine](eager, optimizer, at.precision)
        sites = sites_of(model, at.trace_sites)
        stochastic = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
        # A GPU, and other ranks, are asked how things stand only now and then: to ask is to wait.
        glance = 1 if device.type == "cpu" and world.size == 1 else at.log_every
        losses: list[torch.Tensor] = []
        waiting = Waiting()
        batches = data.train_batches(
            seed=config.seed,
            first_step=done + 1,
            steps=at.steps,
            batch_size=at.batch_size,
            rank=world.rank,
            world=world.size,
            device=device,
        )
        for step, (x, y) in enumerate(waiting.on(batches), start=done + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, config)
            if stochastic:
                torch.manual_seed(draw_seed(config.seed, step, world.rank))
            if is_trace_step(step, every=at.trace_every, dense=at.trace_dense):
                with tap(sites) as taps:
                    loss, logits = eagerly(x, y)
                    record.traces(taps.rows(step))
            else:
                loss, logits = compute(x, y)
            optimizer.step()

            losses.append(loss)
            evaluated = step % at.eval_every == 0 or step == at.steps
            saved_now = step % at.checkpoint_every == 0 or step == at.steps
            if step % glance == 0 or evaluated or saved_now:
                bad = first_non_finite(losses, world)
                if bad is not None:
                    at_step = step - len(losses) + 1 + bad
                    record.metrics(at_step, "train", "batch", {"loss": math.nan, "top1": math.nan})
                    return end("diverged", at_step)
                losses.clear()
            if step % at.log_every == 0 or step == at.steps:
                record.metrics(step, "train", "batch", of_mini_batch(loss, logits, y, world))
                progress(step, last)
            if evaluated:
                record.timing({"step": step, **waiting.throughput(at.batch_size * world.size)})
                last = measure(step, "moving")
                progress(step, last)
            if step % glance == 0 and step < at.steps and stop.agreed(world, device):
                save(step)
                return end("preempted", step)
            if saved_now:
                save(step)
            waiting.rest()

        for other in dict.fromkeys(at.final_splits):
            if other != split:
                measure(at.steps, "moving", other)
        if at.population_batches and any(isinstance(m, BatchNorm) for m in model.modules()):
            with population_statistics(model, population_batches(config, data, device)):
                measure(at.steps, "population")
        if world.main:
            checkpoint.trim(directory / rundir.CHECKPOINTS, keep=1)
        return end("completed", at.steps)
    finally:
        record.close()


def first_non_finite(losses: list[torch.Tensor], world: World) -> int | None:
    """The place of the first loss that is not finite on some rank; None where all are."""
    if len(losses) == world.size == 1:  # of a step on the CPU, where the general case costs 3 %
        return None if math.isfinite(losses[0].item()) else 0
    finite = total(torch.stack(losses).isfinite().logical_not().float(), world) == 0
    return None if bool(finite.all()) else int(finite.logical_not().nonzero()[0])


def of_mini_batch(
    loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor, world: World
) -> dict[str, float]:
    """The mini-batch's own loss and accuracy, over all ranks."""
    top1 = (logits.argmax(1) == y).float().mean()
    mean = total(torch.stack([loss, top1]), world) / world.size
    return dict(zip(("loss", "top1"), mean.tolist(), strict=True))


def sites_of(model: nn.Module, names: list[str] | None) -> dict[str, nn.Module]:
    """The nonlinearities to trace."""
    sites: dict[str, nn.Module] = model.sites()  # pyright: ignore[reportCallIssue]
    unknown = set(names or []) - set(sites)
    if unknown:
        raise ValueError(
            f"train.trace_sites: no {', '.join(sorted(unknown))}; "
            f"the network has {', '.join(sites)}"
        )
    return sites if names is None else {name: sites[name] for name in names}


def sgd(model: nn.Module, config: Config) -> torch.optim.SGD:
    """SGD with momentum; the L2 weight is on weight matrices and kernels, not biases or BN."""
    decayed = [
        m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)
    ]
    known = set(decayed)
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": config.optimizer.weight_decay},
            {"params": [p for p in model.parameters() if p not in known], "weight_decay": 0.0},
        ],
        lr=config.optimizer.lr,
        momentum=config.optimizer.momentum,
    )


def rate(step: int, config: Config) -> float:
    """The learning rate of ``step``; the stairs shrink with a run shorter than the paper's."""
    o, t = config.optimizer, config.train
    every = o.decay_every
    if every is not None:
        every *= t.steps / (t.paper_steps or t.steps) / o.decay_speed
    return learning_rate(step, lr=o.lr, decay_rate=o.decay_rate, decay_every=every)


def draw_seed(seed: int, step: int, rank: int) -> int:
    """The seed of what a step draws at random (dropout), a function of these three alone."""
    return int(np.random.SeedSequence((seed, 3, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def population_batches(config: Config, data: Data, device: torch.device) -> Any:
    """Training mini-batches for Algorithm 2, of the run's own size, from an order of their own."""
    n = config.train.population_batches
    batches = data.train_batches(
        seed=config.seed + 1_000_003,
        first_step=1,
        steps=n,
        batch_size=config.train.batch_size,
        device=device,
    )
    return (x for x, _ in islice(batches, n))
