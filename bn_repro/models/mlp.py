"""The network of section 4.1: fully connected sigmoid layers on a flat image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bn_repro.norm import Norm


class MLP(nn.Module):
    """``len(hidden)`` layers g(BN(Wu)) or g(Wu + b), then a fully connected softmax layer.

    Input (N, in_features), output logits (N, classes). Weights are drawn from a Gaussian of
    ``init_std`` ("small random Gaussian values"), biases start at zero; networks that differ in
    their norm alone draw the same weights from equal generators. Each nonlinearity is the module
    ``hidden<k>.nonlinearity``.
    """

    def __init__(
        self,
        *,
        norm: Norm,
        generator: torch.Generator,
        in_features: int = 784,
        hidden: Sequence[int] = (100, 100, 100),
        classes: int = 10,
        nonlinearity: Callable[[], nn.Module] = nn.Sigmoid,
        init_std: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        width = in_features
        for k, units in enumerate(hidden, start=1):
            layer = nn.Sequential()
            layer.add_module("linear", nn.Linear(width, units, bias=norm.bias))
            layer.add_module("norm", norm.fc(units))
            layer.add_module("nonlinearity", nonlinearity())
            if dropout > 0:
                layer.add_module("dropout", nn.Dropout(dropout))
            self.layers.add_module(f"hidden{k}", layer)
            width = units
        self.classifier = nn.Linear(width, classes)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.weight.normal_(0.0, init_std, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, in_features)."""
        return self.classifier(self.layers(x))

    def sites(self) -> dict[str, nn.Module]:
        """The nonlinearities by name, first layer first: ``hidden1``, ``hidden2``, ..."""
        return {
            name: layer.get_submodule("nonlinearity")
            for name, layer in self.layers.named_children()
        }
