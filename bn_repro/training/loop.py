"""The training loop, and the state that makes it resume exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bn_repro.config.schema import Config
from bn_repro.data.batches import Batches, Data
from bn_repro.norm import BatchNorm, population_statistics
from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import Record
from bn_repro.training import checkpoint
from bn_repro.training.activations import is_trace_step, record_activations, sites_of
from bn_repro.training.evaluate import evaluate
from bn_repro.training.optimizer import polyak_average, rate, sgd
from bn_repro.training.ranks import (
    gather_moving_averages,
    load_moving_averages,
    mean_of_replicas,
    replicated,
    stop_agreed,
    total,
    union,
)
from bn_repro.training.step import ENGINES, autocast
from bn_repro.training.stop_signal import StopFlag
from bn_repro.training.throughput import Meter
from bn_repro.training.world import World

Progress = Callable[[int, Mapping[str, float]], None]
"""Told the step, and what was last measured."""


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

    ``model`` is on ``device``, where ``data`` go; ``recorder_of`` opens the records, cut back to
    the lengths that a checkpoint remembers. Ends ``completed``, ``diverged`` (a non-finite loss) or
    ``preempted``; errors pass through, with the records closed.
    """
    at = config.train
    run = Run(config, model, data, directory, device, world, recorder_of, say)
    optimizer, record = run.optimizer, run.record
    try:
        run.begin()
        replica = replicated(model, world, device)
        eagerly = ENGINES["eager"](replica, optimizer, at.precision)
        compute = ENGINES[at.engine](replica, optimizer, at.precision)
        sites = sites_of(model, at.trace_sites)
        stochastic = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
        # A GPU, and other ranks, are asked how things stand only now and then: to ask is to wait.
        glance = 1 if device.type == "cpu" and world.size == 1 else at.log_every
        losses: list[torch.Tensor] = []
        meter = Meter()
        for step, (x, y) in enumerate(meter.timed(run.batches()), start=run.step + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, config)
            if stochastic:
                seed_draws(draw_seed(config.seed, step, world.rank), device)
            traced = is_trace_step(step, every=at.trace_every, dense=at.trace_dense)
            if traced:
                with record_activations(sites) as taps:
                    loss, logits = eagerly(x, y)
                    rows = taps.rows(step)
            else:
                loss, logits = compute(x, y)
            optimizer.step()
            if run.average is not None:
                run.average.update_parameters(model)
            run.step = step

            losses.append(loss)
            evaluated = step % at.eval_every == 0 or step == at.steps
            saved = step % at.checkpoint_every == 0 or step == at.steps
            if step % glance == 0 or traced or evaluated or saved:
                bad = first_non_finite(losses, world)
                end = step if bad is None else step - len(losses) + 1 + bad
                if traced and end == step:
                    record.traces(rows)
                if bad is not None:
                    return run.diverged(end)
                losses.clear()
            if step % at.log_every == 0 or step == at.steps:
                record.metrics(step, "train", "batch", of_mini_batch(loss, logits, y, world))
                progress(step, run.last)
            if evaluated:
                record.timing({"step": step, **meter.rates(at.batch_size * world.size)})
                run.follow()
                progress(step, run.last)
            stopped = step % glance == 0 and step < at.steps and stop_agreed(stop, world, device)
            if saved or stopped:
                run.save()
            if stopped:
                return run.end("preempted")
            meter.rest()
        return run.complete()
    finally:
        record.close()


class Run:
    """A run between two steps: what it goes on from, saved, measured and ended.

    ``step`` is the last that was done, ``last`` what was then last measured on the split that the
    run is followed on.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        data: Data,
        directory: Path,
        device: torch.device,
        world: World,
        recorder_of: Callable[[Mapping[str, int] | None], Record],
        say: Callable[[str], None],
    ) -> None:
        """From the last checkpoint in ``directory``, or from the start."""
        self.config, self.model, self.data = config, model, data
        self.device, self.world = device, world
        self.optimizer = sgd(model, config)
        self.average = polyak_average(model, config.train.polyak)
        self._checkpoints = directory / paths.CHECKPOINTS
        saved = checkpoint.load_latest(self._checkpoints, device, say) or {}
        if saved:
            checkpoint.load_weights(model, saved["model"], self._checkpoints)
            self.optimizer.load_state_dict(saved["optimizer"])
            load_moving_averages(model, saved["replicas"], world)
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
        self.step: int = saved.get("step", 0)
        self.last: dict[str, float] = saved.get("last", {})
        self.record = recorder_of(saved.get("lengths"))
        self._split = paths.monitored_split(data.splits)
        self._say, self._told = say, 0
        self._clock = time.perf_counter() - saved.get("seconds", 0.0)

    def begin(self) -> None:
        """Say that it runs, and put the model in training mode."""
        self.record.status("running", self.step, self._seconds())
        self._tell_quarantined()
        self.model.train()

    def batches(self) -> Batches:
        """The mini-batches of the steps to come, this rank's part of them."""
        at = self.config.train
        return self.data.train_batches(
            seed=self.config.seed,
            first_step=self.step + 1,
            steps=at.steps,
            batch_size=at.batch_size,
            rank=self.world.rank,
            world=self.world.size,
            device=self.device,
        )

    def save(self) -> None:
        """Save all that a resume needs, the records' lengths with it."""
        self._tell_quarantined()
        replicas = gather_moving_averages(self.model, self.world)
        if self.world.main:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "replicas": replicas,
                "average": None if self.average is None else self.average.state_dict(),
                "step": self.step,
                "seconds": self._seconds(),
                "last": self.last,
                "lengths": self.record.lengths(),
            }
            checkpoint.save(self._checkpoints, self.step, state)
            self.record.status("running", self.step, state["seconds"])

    def follow(self) -> None:
        """Measure on the split that the run is followed on, by the moving averages."""
        self.last = self._measure("moving", self._split)
        if self.average is not None:
            self._measure("polyak", self._split, self.average.module)
        self._tell_quarantined()

    def complete(self) -> Outcome:
        """Measure what is measured once, at the end."""
        at = self.config.train
        for other in dict.fromkeys(at.final_splits):
            if other != self._split:
                self._measure("moving", other)
        if at.population_batches and any(isinstance(m, BatchNorm) for m in self.model.modules()):
            batches = population_batches(self.config, self.data, self.device, self.world)
            precise = autocast(self.device, at.precision)
            with precise, population_statistics(self.model, batches):
                self._measure("population", self._split)
        if self.world.main:
            checkpoint.trim(self._checkpoints, keep=1)
        return self.end("completed")

    def diverged(self, step: int) -> Outcome:
        """End at ``step``, the first whose loss was not finite."""
        self.step = step
        self.record.metrics(step, "train", "batch", {"loss": math.nan, "top1": math.nan})
        return self.end("diverged")

    def end(self, state: str) -> Outcome:
        """Say how it ended."""
        self._tell_quarantined()
        seconds = self._seconds()
        self.record.status(state, self.step, seconds)
        return Outcome(state, self.step, seconds, self.last.get("top1"))

    def _measure(
        self, statistics: str, split: str, model: nn.Module | None = None
    ) -> dict[str, float]:
        at, world, model = self.config.train, self.world, model or self.model
        batches = self.data.eval_batches(
            split,
            batch_size=at.eval_batch_size,
            rank=world.rank,
            world=world.size,
            device=self.device,
        )
        with autocast(self.device, at.precision), mean_of_replicas(model, world):
            found = evaluate(model, batches, world)
        self.record.metrics(self.step, split, statistics, found)
        return found

    def _tell_quarantined(self) -> None:
        """Say and record which files could not be read, of all ranks, each once for the run.

        Asked where the run is measured, saved or ended: a step has nothing to do with it.
        """
        met = union(self.data.quarantined, self.world)
        if len(met) > self._told:
            self._told = len(met)
            for line in self.record.quarantined(met):
                self._say(f"quarantined: {line}")

    def _seconds(self) -> float:
        """Of this run in all, the times before it was resumed included."""
        return time.perf_counter() - self._clock


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


def draw_seed(seed: int, step: int, rank: int) -> int:
    """The seed of what a step draws at random (dropout), a function of these three alone."""
    return int(np.random.SeedSequence((seed, 3, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what a step draws on ``device``."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # of all devices it takes 0.08 ms
    else:
        torch.manual_seed(seed)


def population_batches(config: Config, data: Data, device: torch.device, world: World) -> Any:
    """Training mini-batches for Algorithm 2, of the run's own size, from an order of their own.

    Where the ranks' statistics are joint each rank has its share; else each sees the same ones.
    """
    n = config.train.population_batches
    ranks = world if config.model.norm == "sync_batch" else World()
    batches = data.train_batches(
        seed=config.seed + 1_000_003,
        first_step=1,
        steps=n,
        batch_size=config.train.batch_size,
        rank=ranks.rank,
        world=ranks.size,
        device=device,
    )
    return (x for x, _ in islice(batches, n))
