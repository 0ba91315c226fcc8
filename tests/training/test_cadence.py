"""The learning rate, and what is due, as functions of the step."""

import pytest

from bn_repro.config.compose import compose
from bn_repro.config.learning_rate import learning_rate_at
from bn_repro.training.cadence import is_due


def test_constant_without_decay():
    config = compose(["experiment=mnist/bn"])
    assert learning_rate_at(1, config) == learning_rate_at(50_000, config) == 0.1


def test_stairs():
    words = ["optimizer.lr=1.0", "optimizer.decay_rate=0.5", "optimizer.decay_every=10"]
    config = compose(["experiment=mnist/bn", *words])
    assert [learning_rate_at(s, config) for s in (1, 10, 11, 20, 21)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_a_compressed_run_decays_by_the_same_total():
    words = ["experiment=mnist/bn", "optimizer.decay_rate=0.96", "optimizer.decay_every=320292"]
    paper = compose([*words, "train.steps=6000000"])
    proxy = compose([*words, "train.steps=10000", "train.paper_steps=6000000"])
    for fraction in (0.1, 0.5, 1.0):
        of_paper = learning_rate_at(int(6_000_000 * fraction), paper)
        assert learning_rate_at(int(10_000 * fraction), proxy) == pytest.approx(of_paper, rel=0.05)


def test_decay_speed_shortens_the_stairs():
    words = ["experiment=mnist/bn", "optimizer.decay_rate=0.5", "optimizer.decay_every=60"]
    fast = compose([*words, "optimizer.decay_speed=6"])
    assert [learning_rate_at(s, fast) / 0.1 for s in (10, 11, 21)] == [1.0, 0.5, 0.25]


def test_steps_are_dense_early_then_on_a_grid():
    steps = [s for s in range(1, 3001) if is_due(s, every=500, dense=100)]
    assert steps == [*range(1, 10), *range(10, 101, 5), *range(500, 3001, 500)]
    assert not [s for s in range(1, 3001) if is_due(s, every=0, dense=0)]
