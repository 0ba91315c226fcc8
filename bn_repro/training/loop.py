"""The training loop, and what it does between two steps: measure, record, save, end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bn_repro.config.learning_rate import learning_rate_at
from bn_repro.config.schema import Config
from bn_repro.data.batches import Data
from bn_repro.norm import BatchNorm, is_synchronized, population_statistics
from bn_repro.records import paths
from bn_repro.records.reader import Outcome
from bn_repro.records.recorder import Logger, Record, Recorder
from bn_repro.training import checkpoint, probes
from bn_repro.training.activations import ActivationRecorder, sites_of
from bn_repro.training.cadence import Cadence
from bn_repro.training.checkpoint import TrainingState
from bn_repro.training.correct import of_all_ranks
from bn_repro.training.evaluate import evaluate
from bn_repro.training.optimizer import set_learning_rate
from bn_repro.training.population_batches import population_batches
from bn_repro.training.precision import autocast
from bn_repro.training.ranks import mean_of_replicas, replicated, total, union
from bn_repro.training.session import Session
from bn_repro.training.step import ENGINES
from bn_repro.training.throughput import Meter
from bn_repro.training.world import World

Batch = tuple[torch.Tensor, torch.Tensor]
"""x (B, *shape) and y (B,)."""


def train(
    config: Config, model: nn.Module, data: Data, directory: Path, session: Session, logger: Logger
) -> Outcome:
    """Train ``model`` from its last checkpoint, or from the start, to the end or to a stop.

    ``model`` is on the session's device; records go to ``directory``, where ``logger`` reads them.
    Ends ``completed``, ``diverged`` (a non-finite loss) or ``preempted``; errors pass through, with
    the records closed.
    """
    run = Run(config, model, data, directory, session, logger)
    at, state, record, world = config.train, run.state, run.record, session.world
    ended: str | None = None
    cadence, losses, meter = Cadence(at, session), Losses(world), Meter(at.batch_size * world.size)
    try:
        run.begin()
        network = replicated(model, world, session.device)
        engine = ENGINES[at.engine](network, state.optimizer, at.precision)
        sites = sites_of(model, at.trace_sites)
        random = draws(model)
        for step, (x, y) in meter.timed(run.batches()):
            due = cadence.at(step)
            set_learning_rate(state.optimizer, learning_rate_at(step, config))
            if random:
                seed_dropout(dropout_seed(config.seed, step, world.rank), session.device)
            activations = None
            if due.trace:
                loss, logits, activations = engine.traced(sites, x, y)
            else:
                loss, logits = engine(x, y)
            state.advance(step)
            losses.add(step, loss)

            diverged = losses.first_non_finite() if due.sync else None
            if activations is not None and diverged in (None, step):
                run.trace(activations, by_unit=due.evaluate)
            if diverged is not None:
                return run.diverge(diverged)
            if due.log:
                run.log_mini_batch(loss, logits, y)
            if due.evaluate:
                record.timing({"step": step, **meter.rates()})
                run.evaluate()
            stop = due.sync and step < at.steps and session.stop_agreed()
            if due.save or stop:
                run.save()
            if stop:
                return run.end("preempted", "signal")
        return run.complete()
    except KeyboardInterrupt:
        ended = "preempted"  # its status will say so
        raise
    finally:
        record.close(ended)


class Losses:
    """The losses of the last steps, left on their device until it is time to look at them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.steps: list[int] = []
        self.values: list[torch.Tensor] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        """Keep the loss of ``step``."""
        self.steps.append(step)
        self.values.append(loss)

    def first_non_finite(self) -> int | None:
        """The first step, of those since the last call, whose loss is not finite on some rank."""
        steps, values = self.steps, self.values
        self.steps, self.values = [], []
        if len(values) == self.world.size == 1:  # on the CPU, where the general case costs 3 %
            return None if math.isfinite(values[0].item()) else steps[0]
        wrong = total(torch.stack(values).isfinite().logical_not().float(), self.world)
        return next((s for s, count in zip(steps, wrong.tolist(), strict=True) if count), None)


class Run:
    """A run in progress: its state, its records, and what it measures on its data."""

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        data: Data,
        directory: Path,
        session: Session,
        logger: Logger,
    ) -> None:
        """Resume from the last checkpoint in ``directory``, or start."""
        self.config, self.model, self.data, self.session = config, model, data, session
        self.checkpoints = directory / paths.CHECKPOINTS
        self.state = TrainingState(config, model, data.fingerprint, session.world)
        written = self.state.restore(self.checkpoints, session)
        main = session.world.main
        self.record = Recorder(directory, written, logger) if main else Record()
        self.split = paths.monitored_split(data.splits)
        self._unreadable = 0

    def begin(self) -> None:
        """Record that it runs, and put the model in training mode."""
        self.record.status(Outcome("running", self.state.step, self.state.seconds))
        self._record_quarantined()
        self.model.train()

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """The steps to come, each with this rank's part of its mini-batch."""
        at, world, first = self.config.train, self.session.world, self.state.step + 1
        batches = self.data.train_batches(
            seed=self.config.seed,
            first_step=first,
            steps=at.steps,
            batch_size=at.batch_size,
            rank=world.rank,
            world=world.size,
            device=self.session.device,
        )
        return enumerate(batches, start=first)

    def trace(self, activations: ActivationRecorder, by_unit: bool) -> None:
        """Record the distributions at the step, and what the probes measure after its update.

        ``by_unit``: also a row for each unit of the sites in ``train.trace_units``.
        """
        at, step = self.config.train, self.state.step
        self.record.traces(activations.rows(step, at.trace_units if by_unit else ()))
        if at.trace_histograms:
            self.record.histograms(activations.histograms(step))
        if not at.probes:
            return
        with mean_of_replicas(self.model, self.session.world):  # the network that is evaluated
            if self.session.world.main:
                rate = learning_rate_at(step, self.config)
                sample = probes.sample(self.config, self.data, self.split, self.session, rate)
                self.record.probes(probes.measure(at.probes, step, self.model, sample))

    def log_mini_batch(self, loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Record the mini-batch's own loss and accuracy, over all ranks."""
        top1 = (logits.argmax(1) == y).float().mean()
        mean = total(torch.stack([loss, top1]), self.session.world) / self.session.world.size
        mean_loss, mean_top1 = mean.tolist()
        values = {"loss": mean_loss, "top1": mean_top1}
        self.record.metrics(self.state.step, "train", "batch", values)
        self.session.progress(self.state.step, self.state.monitored)

    def evaluate(self) -> None:
        """Measure on the monitored split, by the moving averages; before the last step on a part.

        The part is ``data.eval_limit`` images; ``correct.npz`` keeps the best of those evaluations.
        """
        last, part = self.state.step == self.config.train.steps, self.config.data.eval_limit
        limit = None if last else part
        right: list[torch.Tensor] = []
        self.state.monitored = self._measure("moving", self.split, right=right, limit=limit)
        bits = of_all_ranks(right, self.data, self.split, self.session, limit)
        compared = not last or part is None or part >= self.data.splits[self.split]
        top1 = self.state.monitored["top1"]
        self.state.correct.add(self.state.step, top1, bits, compared=compared)
        if self.state.average is not None:
            self._measure("polyak", self.split, self.state.average.module, limit=limit)
        self._record_quarantined()
        self.session.progress(self.state.step, self.state.monitored)

    def save(self) -> None:
        """Save a checkpoint, and the step in the status."""
        self._record_quarantined()
        # Before the checkpoint: a run killed in between makes it anew, never goes without.
        self.record.correct(self.state.correct.arrays())
        seconds = self.state.save(self.checkpoints, self.record.written())
        self.record.status(Outcome("running", self.state.step, seconds))

    def complete(self) -> Outcome:
        """Measure what is measured once, after the last step, and end."""
        at = self.config.train
        for split in dict.fromkeys(at.final_splits):
            if split != self.split:
                self._measure("moving", split)
        if at.population_batches and any(isinstance(m, BatchNorm) for m in self.model.modules()):
            together = is_synchronized(self.model)
            batches = population_batches(
                self.config, self.data, self.session, synchronized=together
            )
            precise = autocast(self.session.device, at.precision)
            with precise, population_statistics(self.model, batches):
                self._measure("population", self.split)
        if self.session.world.main:
            checkpoint.trim(self.checkpoints, keep=1)
        return self.end("completed")

    def diverge(self, step: int) -> Outcome:
        """End at ``step``, the first whose loss was not finite."""
        self.state.step = step
        self.record.metrics(step, "train", "batch", {"loss": math.nan, "top1": math.nan})
        self.record.correct(self.state.correct.arrays())
        return self.end("diverged", "divergence")

    def end(self, state: str, cause: str | None = None) -> Outcome:
        """Record how the run ended."""
        self._record_quarantined()
        top1 = self.state.monitored.get("top1")
        outcome = Outcome(state, self.state.step, self.state.seconds, top1, cause=cause)
        self.record.status(outcome)
        return outcome

    def _measure(
        self,
        statistics: str,
        split: str,
        model: nn.Module | None = None,
        right: list[torch.Tensor] | None = None,
        limit: int | None = None,
    ) -> dict[str, float]:
        at, world, model = self.config.train, self.session.world, model or self.model
        batches = self.data.eval_batches(
            split,
            batch_size=at.eval_batch_size,
            rank=world.rank,
            world=world.size,
            device=self.session.device,
            limit=limit,
        )
        with autocast(self.session.device, at.precision), mean_of_replicas(model, world):
            metrics = evaluate(model, batches, world, right)
        self.record.metrics(self.state.step, split, statistics, metrics)
        return metrics

    def _record_quarantined(self) -> None:
        """Record and log the files that no rank could read, each once for the run.

        A collective call: all ranks make it together, where the run is measured, saved or ended.
        """
        lines = union(self.data.quarantined, self.session.world)
        if len(lines) > self._unreadable:
            self._unreadable = len(lines)
            for line in self.record.quarantined(lines):
                self.session.log(f"quarantined: {line}")


def draws(model: nn.Module) -> bool:
    """Whether training draws at random: dropout, or a module that says so by its ``draws``."""
    return any(
        (isinstance(m, nn.Dropout) and m.p > 0) or getattr(m, "draws", False)
        for m in model.modules()
    )


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's dropout masks, a function of these three alone."""
    return int(np.random.SeedSequence((seed, 3, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the dropout masks drawn on ``device``."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # of all devices it takes 0.08 ms
    else:
        torch.manual_seed(seed)
