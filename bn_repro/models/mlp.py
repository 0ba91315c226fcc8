"""The network of section 4.1: fully connected sigmoid layers on a flat image."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn

from bn_repro.norm import Norm


class MLP(nn.Module):
    """Hidden layers g(BN(Wu)) or g(Wu + b), then a fully connected layer: the logits.

    With ``norm.at`` "after" they are BN(g(Wu + b)), with "input" g(W BN(u) + b), in the first
    layer too, where u is the image. The two differ at the ends of the network alone: "after"
    normalizes the classifier's input, "input" the image.

    ``widths`` are those of the input, of each hidden layer and of the logits: (N, widths[0]) ->
    (N, widths[-1]). Weights are drawn from a Gaussian of ``init_std`` ("small random Gaussian
    values"), biases start at zero; networks that differ in their norm alone draw the same weights
    from equal generators. ``dropout`` follows each nonlinearity, which is the module
    ``hidden<k>.nonlinearity``.
    """

    def __init__(
        self,
        *,
        norm: Norm,
        generator: torch.Generator,
        widths: Sequence[int] = (784, 100, 100, 100, 10),
        nonlinearity: Callable[[], nn.Module] = nn.Sigmoid,
        init_std: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for k, (width, units) in enumerate(itertools.pairwise(widths[:-1]), start=1):
            parts: dict[str, nn.Module] = {"linear": nn.Linear(width, units, bias=norm.bias)}
            parts["norm"] = norm.fc(width if norm.at == "input" else units)
            parts["nonlinearity"] = nonlinearity()
            if dropout > 0:
                parts["dropout"] = nn.Dropout(dropout)
            first = {"input": ["norm"], "after": ["linear", "nonlinearity"], "before": []}[norm.at]
            layer = nn.Sequential(OrderedDict({name: parts[name] for name in [*first, *parts]}))
            self.layers.add_module(f"hidden{k}", layer)
        self.classifier = nn.Linear(widths[-2], widths[-1])
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.weight.normal_(0.0, init_std, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()
        for layer in self.layers.children():
            norm.weights(layer.get_submodule("linear"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images."""
        return self.classifier(self.layers(x))

    def sites(self) -> dict[str, nn.Module]:
        """The nonlinearities by name, first layer first: ``hidden1``, ``hidden2``, ..."""
        return {
            name: layer.get_submodule("nonlinearity")
            for name, layer in self.layers.named_children()
        }
