"""A delayed gradient is applied so many steps after it was taken; Polyak's average."""

import pytest
import torch
from torch import nn

from bn_repro.config.compose import compose
from bn_repro.training.optimizer import DelayedSGD, PolyakAverage, sgd
from bn_repro.training.sgd import SGD

DELAY, RATE, MOMENTUM = 2, 0.1, 0.9


def test_a_gradient_is_applied_so_many_steps_after_it_was_taken():
    """Of (w - t)^2 / 2 at step t, by hand."""
    w, taken, velocity = torch.tensor(3.5), [], None
    p = torch.nn.Parameter(torch.tensor(3.5))
    optimizer = DelayedSGD([p], delay=DELAY, lr=RATE, momentum=MOMENTUM)
    for t in range(1, 7):
        taken.append(w - t)
        if t > DELAY:
            g = taken[t - 1 - DELAY]
            velocity = g if velocity is None else MOMENTUM * velocity + g
            w = w - RATE * velocity
        p.grad = p.detach() - t
        optimizer.step()
        assert (p.item() == 3.5) == (t <= DELAY)
        torch.testing.assert_close(p.detach(), w)


@pytest.mark.parametrize(("delay", "made"), [(0, SGD), (2, DelayedSGD)])
def test_without_a_delay_it_is_the_usual_one(delay, made):
    config = compose(["experiment=mnist/bn", f"optimizer.delay={delay}"])
    assert type(sgd(torch.nn.Linear(2, 2), config)) is made


def test_polyaks_average_takes_a_shared_weight_in_once_a_step():
    """The 28 norms of a recurrent network share gamma and beta."""
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared)
    average = PolyakAverage(model, 0.25)
    average.update()  # the first is the network itself
    before = shared.weight.detach().clone()
    with torch.no_grad():
        shared.weight += 4
    average.update()
    assert torch.allclose(average.module.state_dict()["0.weight"], before + 1)
