"""The parts of the loop: what is due when, the first loss that is not finite, and the clock."""

import errno
import math

import pytest
import torch

from bn_repro.config.compose import compose
from bn_repro.config.schema import TrainConfig
from bn_repro.data.decode import CorruptImage
from bn_repro.records.recorder import CAUSES, Logger
from bn_repro.training import throughput
from bn_repro.training.loop import Cadence, Losses
from bn_repro.training.run import cause_of, run
from bn_repro.training.session import Session
from bn_repro.training.throughput import Meter
from bn_repro.training.world import World


def steps_due(session):
    config = TrainConfig(
        steps=23, trace_dense=0, trace_every=6, log_every=5, eval_every=10, checkpoint_every=7
    )
    due = {step: Cadence(config, session).at(step) for step in range(1, 24)}
    return {name: [s for s in due if getattr(due[s], name)] for name in due[1]._fields}


def test_each_cadence_is_its_own_and_the_last_step_does_all_but_trace():
    due = steps_due(Session(torch.device("cpu")))
    assert due["trace"] == [6, 12, 18]
    assert due["log"] == [5, 10, 15, 20, 23]
    assert due["evaluate"] == [10, 20, 23]
    assert due["save"] == [7, 14, 21, 23]
    assert due["sync"] == list(range(1, 24))
    for session in (Session(torch.device("cuda")), Session(torch.device("cpu"), World(0, 2))):
        rare = steps_due(session)
        assert rare["sync"] == [5, 6, 7, 10, 12, 14, 15, 18, 20, 21, 23]
        assert {**rare, "sync": 0} == {**due, "sync": 0}


def test_evaluations_can_be_denser_at_first():
    config = TrainConfig(steps=63, eval_every=20, eval_dense=15)
    cadence = Cadence(config, Session(torch.device("cpu")))
    due = [step for step in range(1, 64) if cadence.at(step).evaluate]
    assert due == [*range(1, 11), 15, 20, 40, 60, 63]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_is_found_among_those_not_looked_at(bad):
    losses = Losses(World())
    for step, value in enumerate([1.0, 2.0], start=1):
        losses.add(step, torch.tensor(value))
    assert losses.first_non_finite() is None
    for step, value in enumerate([1.0, bad, 1.0, bad], start=3):
        losses.add(step, torch.tensor(value))
    assert losses.first_non_finite() == 4
    losses.add(7, torch.tensor(bad))
    assert losses.first_non_finite() == 7


def test_rates_leave_out_what_follows_an_evaluation_in_its_step(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])

    def batches():
        for _ in range(6):
            clock[0] += 1  # a second for the data
            yield None

    meter, rates = Meter(batch=12), []
    for step, _ in enumerate(meter.timed(batches()), start=1):
        clock[0] += 3  # three for the step
        if step % 2 == 0:
            rates.append(meter.rates())
            clock[0] += 100  # evaluating
    assert rates == [{"examples_per_second": 3.0, "waiting": 0.25}] * 3


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyboardInterrupt(), "signal"),
        (CorruptImage("n01/bad.JPEG: not an image"), "data"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "other"),
        (RuntimeError("out of luck"), "other"),
    ],
)
def test_an_error_has_its_cause(error, cause):
    assert cause_of(error) == cause
    assert cause in CAUSES


def test_an_interrupted_run_closes_its_loggers_as_one_that_goes_on(monkeypatch, tmp_path):
    """W&B starts such a run again, and not one that failed."""
    ended = []

    class Heard(Logger):
        def finish(self, state):
            ended.append(state)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bn_repro.training.run.logger_of", lambda config: Heard())
    monkeypatch.setattr("bn_repro.training.loop.set_learning_rate", interrupted)
    config = compose(["experiment=mnist/bn", "scale=smoke", f"runs={tmp_path}"])
    assert run(config, log=lambda line: None).state == "preempted"
    assert ended == ["preempted"]
