"""The recurrent network against a loop written by hand, in float64, and its steps' statistics."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bn_repro import norm
from bn_repro.models.recurrent import Recurrent, Shape
from bn_repro.norm import BatchNorm
from bn_repro.norm.population import population_statistics

STEPS, PIXELS, UNITS, CLASSES, EPS = 5, 4, 6, 3, 1e-3
NORMS = {
    "none": norm.none(),
    "batch": norm.batch(eps=EPS),
    "layer": norm.layer(eps=EPS),
    "instance": norm.instance(eps=EPS),
    "weight": norm.weight(),
}


def network(kind="batch", nonlinearity: type[nn.Module] = nn.Tanh, **shape):
    generator = torch.Generator().manual_seed(0)
    whole = Shape(STEPS, PIXELS, UNITS, CLASSES, **shape)
    how = {"generator": generator, "nonlinearity": nonlinearity, "init_std": 0.7}
    made = Recurrent(whole, norm=NORMS[kind], **how).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "norms" in name:  # no gamma of 1 and no beta of 0
                p += torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return made


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(7, STEPS * PIXELS, generator=generator, dtype=torch.float64)


def by_hand(model, x, normalized):
    """The logits; ``normalized(z, t)`` is the norm of step t."""
    W_x, W_h = model.inputs.weight, model.recurrence.weight
    b = 0 if model.inputs.bias is None else model.inputs.bias
    h = x.new_zeros(len(x), UNITS)
    for t in range(STEPS):
        row = x[:, t * PIXELS : (t + 1) * PIXELS]
        h = torch.tanh(normalized(row @ W_x.T + b + h @ W_h.T, t))
    return h @ model.classifier.weight.T + model.classifier.bias


def affine(model, z, mean, var):
    gamma, beta = model.norms[0].weight, model.norms[0].bias
    return gamma * (z - mean) / torch.sqrt(var + EPS) + beta


def of_mini_batch(model):
    return lambda z, t: affine(model, z, z.mean(0), z.var(0, correction=0))


def test_without_a_norm_it_is_the_recurrence_with_its_bias(x):
    model = network("none")
    assert model.inputs.bias is not None
    with torch.no_grad():
        model.inputs.bias.add_(0.3)
    torch.testing.assert_close(model(x), by_hand(model, x, lambda z, t: z))


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_in_training_each_step_is_normalized_by_its_own_mini_batch(statistics, x):
    model = network(statistics=statistics)
    assert model.inputs.bias is None
    y = torch.arange(7) % CLASSES
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) == 4 * 6 + 6 * 6 + 2 * 6 + 6 * 3 + 3
    found = torch.autograd.grad(cross_entropy(model(x), y), parameters)
    logits = by_hand(model, x, of_mini_batch(model))
    expected = torch.autograd.grad(cross_entropy(logits, y), parameters)
    torch.testing.assert_close(model(x), logits)
    torch.testing.assert_close(found, expected)


def inputs_of_norms(model, x):
    """z of each step, of a pass in training mode."""
    seen = []
    by_hand(model, x, lambda z, t: (seen.append(z.detach()), of_mini_batch(model)(z, t))[1])
    return seen


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_which_statistics_inference_normalizes_by(statistics, x):
    model = network(statistics=statistics)
    z = inputs_of_norms(model, x)
    assert len({round(float(one.mean()), 6) for one in z}) == STEPS
    mean, var = torch.stack([one.mean(0) for one in z]), torch.stack([one.var(0) for one in z])
    if statistics == "shared":  # Algorithm 2 gives every step the same weight
        mean, var = mean.mean(0).expand_as(mean), var.mean(0).expand_as(var)
    model.eval()
    with population_statistics(model, [x]):
        found = model(x)
    torch.testing.assert_close(
        found, by_hand(model, x, lambda z, t: affine(model, z, mean[t], var[t]))
    )


def test_moving_averages_are_updated_once_a_step_of_their_own_or_by_all(x):
    own, shared = network(), network(statistics="shared")
    z = inputs_of_norms(own, x)
    own(x)
    shared(x)
    for norm_t, one in zip(own.norms, z, strict=True):
        torch.testing.assert_close(norm_t.running_mean, 0.1 * one.mean(0))
    (norm_of_all,) = shared.norms
    expected = torch.zeros(UNITS, dtype=torch.float64)
    for one in z:
        expected = 0.9 * expected + 0.1 * one.mean(0)
    torch.testing.assert_close(norm_of_all.running_mean, expected)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance"])
def test_steps_share_gamma_and_beta_and_go_on_to(kind, x):
    model = copy.deepcopy(network(kind))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cross_entropy(model(x), torch.arange(7) % CLASSES).backward()
    optimizer.step()
    firsts = dict(model.norms[0].named_parameters())
    assert firsts
    for other in model.norms[1:]:
        assert all(p is firsts[name] for name, p in other.named_parameters())
    assert len(list(model.parameters())) == 4 + len(firsts)


def test_weight_normalization_leaves_the_function_as_drawn(x):
    torch.testing.assert_close(network("weight")(x), network("none")(x))


def test_permuted_it_reads_the_pixels_in_one_fixed_order(x):
    permuted, rows = network(order="permuted"), network()
    order, same = permuted.permutation, network("none", order="permuted").permutation
    assert order is not None
    assert same is not None
    assert sorted(order.tolist()) == list(range(STEPS * PIXELS)) != order.tolist()
    assert torch.equal(order, same)
    torch.testing.assert_close(permuted(x), rows(x[:, order]))
    assert list(permuted.state_dict()) == list(rows.state_dict())


def test_sites_are_the_first_the_middle_and_the_last_nonlinearity(x):
    model = network(nonlinearity=nn.Sigmoid)
    sites = model.sites()
    assert list(sites) == ["step1", "step2", "step5"]
    seen = {}
    for name, site in sites.items():
        site.register_forward_pre_hook(lambda _, z, name=name: seen.setdefault(name, z[0]))
    model(x)
    first = of_mini_batch(model)(x[:, :PIXELS] @ model.inputs.weight.T, 0)
    torch.testing.assert_close(seen["step1"], first)


def test_folding_leaves_it_whole_and_torchs_layers_compute_the_same(x):
    """W_h serves every step, so no step's scale can go into it."""
    model = network()
    model(x)
    model.eval()
    torch.testing.assert_close(norm.fold(model)(x), model(x))
    plain = norm.to_torch(model)
    assert not any(isinstance(m, BatchNorm) for m in plain.modules())
    torch.testing.assert_close(plain(x), model(x))


def test_another_place_is_refused():
    with pytest.raises(ValueError, match="stands before the nonlinearity, not 'input'"):
        Recurrent(Shape(), norm=norm.batch().placed("input"), generator=torch.Generator())
