"""A step of section 4.1's network without autograd, to be read beside the paper.

Names are section 3's: a hidden layer makes x = Wu (+ b), y = BN(x), z = g(y), and ``dx`` is the
gradient of the loss with respect to x, dl/dx in the paper. Sums over the mini-batch are inside the
products. Almost all results lie in tensors made once. Each weight matrix is updated in place by one
kernel, which multiplies and subtracts, so its gradient is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.models.mlp import MLP
from bn_repro.norm import BatchNorm
from bn_repro.training.activations import ActivationRecorder
from bn_repro.training.sgd import Optimizer

aten = torch.ops.aten

G: dict[type[nn.Module], tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.Sigmoid: (
        torch.sigmoid,
        lambda dz, z: aten.sigmoid_backward.grad_input(dz, z, grad_input=dz),  # z (1 - z) dz
    ),
    nn.Tanh: (
        torch.tanh,
        lambda dz, z: aten.tanh_backward.grad_input(dz, z, grad_input=dz),  # (1 - z^2) dz
    ),
    nn.ReLU: (
        aten.relu.out,
        lambda dz, z: aten.threshold_backward.grad_input(dz, z, 0, grad_input=dz),  # dz where z > 0
    ),
}
"""The nonlinearities: z = g(y), into ``out``, and dy from dz and z, in the place of dz."""


class Linear:
    """x = Wu + b, or Wu, of a mini-batch u (m, inputs)."""

    def __init__(self, linear: nn.Linear, m: int) -> None:
        self.W = linear.weight.detach()
        self.b = None if linear.bias is None else linear.bias.detach()
        self.WT = self.W.T  # a view, made once
        self.x, self.du = self.W.new_empty(m, len(self.W)), self.W.new_empty(m, self.W.shape[1])
        self.ones = self.W.new_ones(m)

    def forward(self, u: Tensor) -> Tensor:
        """x (m, outputs)."""
        self.u = u
        if self.b is None:
            return torch.mm(u, self.WT, out=self.x)
        return torch.addmm(self.b, u, self.WT, out=self.x)

    def backward(self, dx: Tensor, rate: float, first: bool) -> Tensor:
        """du, by the weights before their update; not computed for the ``first`` layer."""
        if not first:
            torch.mm(dx, self.W, out=self.du)  # dl/du = dl/dx W
        self.W.addmm_(dx.T, self.u, alpha=-rate)  # W - rate dl/dW, with dl/dW = sum of dl/dx u^T
        if self.b is not None:
            self.b.addmv_(dx.T, self.ones, alpha=-rate)  # b - rate dl/db, with dl/db = sum of dl/dx
        return self.du


class BN:
    """y = BN(x): Algorithm 1 forward, the six gradients of section 3 backward, fused by PyTorch.

    ``norm.batch_norm_forward`` and ``norm.batch_norm_backward`` write out the same.
    """

    def __init__(self, layer: BatchNorm, m: int) -> None:
        self.gamma, self.beta = layer.weight.detach(), layer.bias.detach()
        self.averages = layer.running_mean, layer.running_var
        self.count = layer.num_batches_tracked
        assert layer.momentum is not None  # model.norm_momentum is a number
        self.momentum, self.eps = layer.momentum, layer.eps
        self.y = self.gamma.new_empty(m, len(self.gamma))
        self.mu, self.one_over_std = torch.empty_like(self.gamma), torch.empty_like(self.gamma)

    def forward(self, x: Tensor) -> Tensor:
        """y; the moving averages take the mini-batch in."""
        self.x = x
        torch.native_batch_norm(
            x,
            self.gamma,
            self.beta,
            *self.averages,
            True,
            self.momentum,
            self.eps,
            out=(self.y, self.mu, self.one_over_std),
        )
        return self.y

    def backward(self, dy: Tensor) -> Tensor:
        """dx; dgamma and dbeta are kept."""
        dx, self.dgamma, self.dbeta = aten.native_batch_norm_backward(
            dy,
            self.x,
            self.gamma,
            *self.averages,
            self.mu,
            self.one_over_std,
            True,
            self.eps,
            [True, True, True],
        )
        return dx


class Hidden:
    """z = g(BN(Wu)) or g(Wu + b); with dropout r z, where r is 0 or 1 / (1 - p)."""

    def __init__(self, layer: nn.Module, m: int) -> None:
        bn, dropout = layer.get_submodule("norm"), getattr(layer, "dropout", None)
        self.linear = Linear(layer.get_submodule("linear"), m)  # pyright: ignore[reportArgumentType]
        self.bn = BN(bn, m) if isinstance(bn, BatchNorm) else None
        self.g, self.slope = G[type(layer.get_submodule("nonlinearity"))]
        self.z = torch.empty_like(self.linear.x)
        self.keep = 1.0 if dropout is None else 1.0 - dropout.p
        self.r, self.rz = torch.empty_like(self.z), torch.empty_like(self.z)

    def forward(self, u: Tensor) -> Tensor:
        """The next layer's u."""
        x = self.linear.forward(u)
        self.y = x if self.bn is None else self.bn.forward(x)
        z = self.g(self.y, out=self.z)
        if self.keep == 1:
            return z
        self.r.bernoulli_(self.keep).div_(self.keep)  # the draws of nn.Dropout
        return torch.mul(self.r, z, out=self.rz)

    def backward(self, dz: Tensor, rate: float, first: bool) -> Tensor:
        """du; what is in dz is lost."""
        if self.keep < 1:
            dz.mul_(self.r)
        self.dy = self.slope(dz, self.z)
        dx = self.dy if self.bn is None else self.bn.backward(self.dy)
        return self.linear.backward(dx, rate, first)


class ByHand:
    """Forward, backward and update of an :class:`~bn_repro.models.mlp.MLP` on a CPU.

    Plain gradient descent, at the optimizer's learning rate; its momentum and weight decay must be
    0. The returned loss stays valid; the logits are overwritten by the next call.
    """

    def __init__(self, model: MLP, optimizer: Optimizer, precision: str) -> None:
        self.model, self.optimizer, self.m = model, optimizer, 0

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits (m, classes) of images x (m, inputs) and labels y (m,)."""
        u, labels = x, y  # x and y are something else in a layer
        if len(u) != self.m:
            self._allocate(len(u))
        rate = self.optimizer.param_groups[0]["lr"]

        for layer in self.layers:
            u = layer.forward(u)
        logits = self.classifier.forward(u)
        log_p = torch.log_softmax(logits, 1, out=self.log_p)
        loss = F.nll_loss(log_p, labels)

        hot = torch.index_select(self.eye, 0, labels, out=self.one_hot)
        dlogits = log_p.exp_().sub_(hot).div_(self.m)
        dz = self.classifier.backward(dlogits, rate, first=False)
        for layer in reversed(self.layers):
            dz = layer.backward(dz, rate, first=layer is self.layers[0])
        if self.bns:  # one call for all layers
            slopes = [slope for bn in self.bns for slope in (bn.dgamma, bn.dbeta)]
            torch._foreach_sub_(self.gammas_and_betas, slopes, alpha=rate)  # pyright: ignore
            torch._foreach_add_(self.counts, 1)  # pyright: ignore
        return loss, logits

    def traced(
        self, sites: Mapping[str, nn.Module], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, ActivationRecorder]:
        """As a call; also the inputs of the ``sites`` and their gradients, which the step keeps."""
        loss, logits = self(x, y)
        activations = ActivationRecorder()
        for name, module in sites.items():
            layer = self.at[name]
            activations.add(name, module, layer.y, layer.dy)
        return loss, logits, activations

    def _allocate(self, m: int) -> None:
        named = self.model.layers.named_children()
        self.m, self.at = m, {name: Hidden(layer, m) for name, layer in named}
        self.layers = list(self.at.values())
        self.bns = [layer.bn for layer in self.layers if layer.bn is not None]
        self.gammas_and_betas = [tensor for bn in self.bns for tensor in (bn.gamma, bn.beta)]
        self.counts = [bn.count for bn in self.bns]
        self.classifier = Linear(self.model.classifier, m)
        self.log_p = torch.empty_like(self.classifier.x)
        self.eye = torch.eye(self.log_p.shape[1], dtype=self.log_p.dtype)
        self.one_hot = torch.empty_like(self.log_p)
