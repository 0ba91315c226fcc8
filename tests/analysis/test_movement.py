"""The measure of movement: blind to scale and to noise, not to drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bn_repro.analysis import movement, quantities
from bn_repro.analysis.load import load
from bn_repro.analysis.style import MNIST_ARMS

STEPS = np.array([*np.unique(np.geomspace(1, 1_000, 40).astype(int)), *range(1_250, 50_001, 250)])


def _track(centre: np.ndarray, width: float | np.ndarray = 1.0, noise: float = 0.0):
    jitter = np.random.default_rng(0).normal(0, noise, size=(3, len(STEPS)))
    levels = np.array([-0.5, 0.0, 0.5])[:, None]
    return STEPS.astype(float), centre + levels * width + jitter


def test_what_stands_still_does_not_move() -> None:
    assert movement.movement(_track(np.full(len(STEPS), 7.0))) == pytest.approx(0)


def test_a_linear_drift_moves_by_a_quarter_of_its_length() -> None:
    # the mean distance of a uniform variable from its mean is a quarter of its range
    drift = 2.0 * STEPS / 50_000
    assert movement.movement(_track(drift)) == pytest.approx(0.5, rel=0.01)
    assert movement.movement(_track(drift, width=4), relative=False) == pytest.approx(0.5, rel=0.01)


def test_scale_and_offset_do_not_matter() -> None:
    steps, values = _track(np.sin(STEPS / 5_000), noise=0.05)
    assert movement.movement((steps, 3 * values + 11)) == pytest.approx(
        movement.movement((steps, values))
    )
    assert movement.movement((steps, 3 * values), relative=False) == pytest.approx(
        3 * movement.movement((steps, values), relative=False)
    )


def test_noise_of_mini_batches_counts_little() -> None:
    noisy = _track(np.zeros(len(STEPS)), noise=0.1)
    unsmoothed = np.abs(noisy[1] - noisy[1].mean(axis=1, keepdims=True)).mean()
    assert movement.movement(noisy) < 0.45 * unsmoothed


def test_the_dense_early_rows_weigh_no_more_than_their_steps() -> None:
    jump = np.where(STEPS <= 500, 1.0, 0.0)  # 1 % of the steps, 15 % of the rows
    assert movement.movement(_track(jump)) == pytest.approx(2 * 0.01 * 0.99, rel=0.35)
    assert movement.movement(_track(jump), start=2_000) == pytest.approx(0)


DOUBLINGS = np.log2(STEPS / 500)


def test_half_a_width_a_doubling_is_a_change_of_a_half() -> None:
    track = _track(0.5 * DOUBLINGS)
    assert movement.change_per_doubling(track) == pytest.approx(0.5, rel=0.02)
    wide = _track(2.0 * DOUBLINGS, width=4)
    assert movement.change_per_doubling(wide) == pytest.approx(0.5, rel=0.02)
    assert movement.change_per_doubling(wide, relative=False) == pytest.approx(2.0, rel=0.02)


def test_one_percentile_of_three_counts_for_a_third() -> None:
    steps, values = _track(np.zeros(len(STEPS)))
    values[0] -= 0.3 * (steps >= 2_900)  # between the steps 2,000 and 4,000
    # of six doublings one has it; the others' widths do not matter, as nothing moves in them
    np.testing.assert_allclose(movement.changes((steps, values)), [0, 0, 0.1, 0, 0, 0], atol=1e-9)
    assert movement.change_per_doubling((steps, values)) == pytest.approx(0.3 / 3 / 6)


def test_a_change_is_over_the_width_before_it() -> None:
    # the width doubles with each doubling of the steps: each end moves by half of the old width
    track = _track(np.zeros(len(STEPS)), width=STEPS / 500)
    assert movement.change_per_doubling(track) == pytest.approx(1 / 3, rel=0.03)


def test_doublings_go_as_far_as_the_run_does() -> None:
    steps, values = _track(np.where(STEPS > 33_000, 9.0, 0.0))
    assert movement.change_per_doubling((steps, values)) == 0  # 64,000 is not in the run
    for end, known in ((998, False), (1_000, True)):
        kept = steps <= end
        found = movement.change_per_doubling((steps[kept], values[:, kept]))
        assert math.isnan(found) is not known


def test_a_drift_of_one_width() -> None:
    centre = np.where(STEPS < 1_000, 5.0, (STEPS - 1_000) / 49_000)  # what came before is nothing
    assert movement.drift(_track(centre)) == pytest.approx(1, rel=0.06)
    assert movement.drift(_track(3 * centre, width=3)) == pytest.approx(1, rel=0.06)
    assert movement.drift(_track(3 * centre, width=3), relative=False) == pytest.approx(3, rel=0.06)


def test_a_drift_is_of_the_median_and_over_the_mean_width() -> None:
    steps, values = _track(np.zeros(len(STEPS)))
    values[2] += (steps >= 10_000) * 1.0  # the upper percentile alone: no drift, a wider width
    assert movement.drift((steps, values)) == 0
    values[1] += (steps > 45_000) * 0.25
    width = 1 + np.mean(steps[steps >= 1_000] >= 10_000)
    assert movement.drift((steps, values)) == pytest.approx(0.25 / width)
    there_and_back = _track(np.where((STEPS > 5_000) & (STEPS < 40_000), 7.0, 0.0))
    assert movement.drift(there_and_back) == 0
    early = steps <= 1_000
    assert math.isnan(movement.drift((steps[early], values[:, early])))


def test_noise_of_mini_batches_is_little_change_and_little_drift() -> None:
    (steps, still), random = _track(np.zeros(len(STEPS))), np.random.default_rng(0)
    noisy = [(steps, still + random.normal(0, 0.1, still.shape)) for _ in range(40)]
    apart = np.mean([abs(p[1, -1] - p[1, 0]) for _, p in noisy])  # of two single mini-batches
    # the running median takes noise at step 1,000, and none at the last, where the ends are held
    assert movement.smoothed(noisy[0][1])[1, -1] == noisy[0][1][1, -1]
    assert np.mean([movement.drift(track) for track in noisy]) < 0.8 * apart
    assert np.mean([movement.change_per_doubling(track) for track in noisy]) < 0.6 * apart
    assert movement.drift((steps, still)) == movement.change_per_doubling((steps, still)) == 0


def test_too_few_rows_give_no_number() -> None:
    assert math.isnan(movement.movement(_track(np.zeros(len(STEPS))), start=49_900))


def test_the_ratio_pairs_seeds_and_tells_the_arms_apart(make_run) -> None:
    members = [make_run("mnist/baseline", seed, steps=20_000) for seed in range(6)]
    members += [make_run("mnist/bn", seed, steps=20_000) for seed in range(1, 7)]
    runs = load(members)
    baseline, bn = (arm.of(runs) for arm in MNIST_ARMS)
    with_bn, without = (movement.moved(arm.traces, "hidden3", None) for arm in (bn, baseline))
    found = quantities.factor(with_bn, without, "movement").interval
    assert found.n == 5  # seeds 1 to 5
    assert found.high < 1  # as the fixture was made
    turned = quantities.factor(without, with_bn, "movement").interval
    assert turned.estimate == pytest.approx(1 / found.estimate)
    assert list(movement.tracks(bn.traces, "hidden3", 0)) == [1, 2, 3, 4, 5, 6]
    assert movement.moved(bn.traces, "nowhere", 0).empty


def test_relative_percentiles_lose_offset_and_scale() -> None:
    _, values = _track(np.sin(STEPS / 5_000), noise=0.05)
    np.testing.assert_allclose(movement.relative(3 * values + 11), movement.relative(values))


def test_the_median_track_goes_as_far_as_every_seed() -> None:
    steps, values = _track(np.zeros(len(STEPS)))
    by_seed = {0: (steps, values), 1: (steps[:10], values[:, :10] + 2), 2: (steps, values + 5)}
    found, middle = movement.median_track(by_seed)
    assert found.tolist() == steps[:10].tolist()
    np.testing.assert_allclose(middle, values[:, :10] + 2)


def test_smoothing_keeps_the_shape_and_a_step() -> None:
    step = np.where(np.arange(50) < 25, 0.0, 1.0)
    np.testing.assert_array_equal(movement.smoothed(step), step)
    spike = np.zeros(50)
    spike[20] = 9
    assert movement.smoothed(spike).max() == 0
