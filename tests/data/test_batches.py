"""Order as a function of seed and step: no state, no class alone, the shufflings."""

from typing import Any

import numpy as np
import pytest
import torch

from bn_repro.data.batches import SHUFFLINGS, batch_indices, epoch_order, steps_per_epoch, to_device


def steps(first, last, **options):
    batches = batch_indices(100, seed=7, first_step=first, steps=last, global_batch=8, **options)
    return [indices for _, indices in batches]


@pytest.mark.parametrize("shuffling", SHUFFLINGS)
def test_an_epoch_holds_every_example_once(shuffling):
    for epoch in range(3):
        order = epoch_order(100, 7, epoch, shuffling, shard=16)
        assert order.sort().values.tolist() == list(range(100))


@pytest.mark.parametrize("shuffling", SHUFFLINGS)
def test_starting_anywhere_gives_the_batches_of_an_uninterrupted_run(shuffling):
    whole = steps(1, 40, shuffling=shuffling, shard=16)
    for first in (2, 12, 13, 14, 30):
        part = steps(first, 40, shuffling=shuffling, shard=16)
        assert all(torch.equal(a, b) for a, b in zip(part, whole[first - 1 :], strict=True))


def test_seeds_and_epochs_differ():
    assert not torch.equal(epoch_order(100, 0, 0), epoch_order(100, 1, 0))
    assert not torch.equal(epoch_order(100, 0, 0), epoch_order(100, 0, 1))


def test_the_examples_left_over_wait_for_another_order():
    last, first = batch_indices(100, seed=7, first_step=12, steps=13, global_batch=8)
    assert (last[0], first[0]) == (0, 1)
    assert torch.equal(last[1], epoch_order(100, 7, 0)[88:96])
    assert torch.equal(first[1], epoch_order(100, 7, 1)[:8])


def companions(shuffling, epoch):
    """The sets of 8 that are neighbours within an epoch's shards of 16."""
    order = epoch_order(96, 7, epoch, shuffling, shard=16).numpy().reshape(-1, 8)
    return {frozenset(row) for row in order}


def test_fixed_keeps_companions_and_within_shard_mixes_them():
    assert companions("fixed", 0) == companions("fixed", 5)
    assert companions("within_shard", 0) != companions("within_shard", 5)


def test_a_short_shard_moves_the_cuts_of_fixed_after_it():
    """100 examples: six shards of 16 and one of 4, which is half of a mini-batch."""

    def batches(epoch):
        found = batch_indices(
            100,
            seed=7,
            first_step=12 * epoch + 1,
            steps=12 * epoch + 12,
            global_batch=8,
            shuffling="fixed",
            shard=16,
        )
        return [frozenset(indices.tolist()) for _, indices in found]

    recurring = [batch in batches(1) for batch in batches(0)]
    assert any(recurring)
    assert not all(recurring)
    kept = [max(len(batch & other) for other in batches(1)) for batch in batches(0)]
    assert all(k == 8 or k == 4 for k in kept)
    assert len(set().union(*batches(0))) == 96  # 100 % 8 are left out


def test_fixed_batches_keep_all_companions():
    """100 examples are twelve mini-batches of 8 and four examples that are never used."""
    first, second = (
        [frozenset(i.tolist()) for i in steps(at, at + 11, shuffling="fixed_batches")]
        for at in (1, 13)
    )
    assert set(first) == set(second)
    assert first != second


def test_within_shard_stays_within_its_shard():
    def shards(epoch):
        order = epoch_order(96, 7, epoch, "within_shard", shard=16).numpy().reshape(-1, 16)
        return {frozenset(row) for row in order}

    assert shards(0) == shards(5)


@pytest.mark.parametrize("shuffling", SHUFFLINGS)
def test_no_batch_is_of_one_class_though_the_data_are_sorted(shuffling):
    labels = np.repeat(np.arange(10), 100)
    order = epoch_order(1000, 3, 0, shuffling, shard=64).numpy()
    classes = [len(set(labels[order[i : i + 32]])) for i in range(0, 992, 32)]
    assert min(classes) >= 5


def test_too_few_examples_are_told():
    with pytest.raises(ValueError, match="train.batch_size: a mini-batch of 8 needs"):
        steps_per_epoch(7, 8)


def test_an_unknown_shuffling_is_told():
    with pytest.raises(ValueError, match="data.shuffling: 'random' is unknown"):
        epoch_order(10, 0, 0, "random")


class Watched:
    """A tensor of which it is noted how it is copied."""

    def __init__(self):
        self.done = []

    def pin_memory(self):
        self.done.append("pinned")
        return self

    def to(self, device, **how):
        self.done.append((str(device), how))
        return self


def test_a_gpu_is_sent_pinned_memory_and_not_waited_for():
    sent: Any = Watched()
    assert to_device(sent, torch.device("cuda", 1)) is sent
    assert sent.done == ["pinned", ("cuda:1", {"non_blocking": True})]


def test_nothing_is_copied_on_the_cpu():
    here = torch.arange(3)
    assert to_device(here, "cpu") is here
    assert to_device(here, torch.device("cpu")) is here
