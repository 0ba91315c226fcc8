"""The functions that models take their normalization from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from norm.layers import drawn

from bn_repro import norm


@pytest.mark.parametrize("make", [norm.batch, norm.sync_batch])
def test_batch_norms(make: Callable[..., norm.Norm]):
    chosen = make(eps=1e-3, momentum=0.2)
    assert not chosen.bias
    made = [chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)]
    shapes = [(4, 5), (4, 3, 6, 6), (4, 3, 2, 2)]
    for layer, shape in zip(made, shapes, strict=True):
        assert isinstance(layer, norm.BatchNorm)
        assert (layer.eps, layer.momentum) == (1e-3, 0.2)
        assert (layer.fused, layer.synchronized) == (True, make is norm.sync_batch)
        plain = type(layer)(*layer.weight.shape, eps=1e-3, momentum=0.2)
        x = drawn(shape, torch.float32)
        assert torch.equal(layer(x), plain(x))  # no process group: the same also if synchronized
        torch.testing.assert_close(layer.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_batch_written_out():
    written = norm.batch(fused=False).fc(5)
    assert isinstance(written, norm.BatchNorm)
    assert not written.fused


def test_none():
    chosen = norm.none(eps=1e-3, momentum=0.2)
    assert chosen.bias
    x = torch.randn(1, 3, 2, 2)
    for layer in (chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)):
        assert layer(x) is x
        assert not list(layer.state_dict())
