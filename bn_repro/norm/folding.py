"""Algorithm 2, line 11: BN at inference as part of the layer before it."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import fx, nn

from bn_repro.norm.batch_norm import (
    BatchNorm,
    BatchNormPerActivation,
    BatchNormPerFeatureMap,
    layers_of,
)
from bn_repro.norm.convert import replaced

Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
FORMS: dict[type[nn.Module], type[BatchNorm]] = {
    nn.Linear: BatchNormPerActivation,
    nn.Conv1d: BatchNormPerFeatureMap,
    nn.Conv2d: BatchNormPerFeatureMap,
    nn.Conv3d: BatchNormPerFeatureMap,
}
"""What BN can be folded into, and the form of BN whose scale is then one for each output."""


@torch.no_grad()
def fold_into(layer: Affine, bn: BatchNorm) -> Affine:
    """A copy of `layer` that computes `bn(layer(x))` of eval mode (Algorithm 2, line 11).

    It is frozen where `layer` is. Raises ValueError if `bn` is not one scale and one shift for each
    output of `layer`, which is an nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d and no subclass, and
    if `bn` is in training mode.
    """
    if not _foldable(layer, bn):
        into = " ".join(str(layer).split())
        raise ValueError(
            f"cannot fold {bn} into {into}: it must be a plain nn.Linear or nn.Conv1d, 2d, 3d, and "
            "the BN one scale and shift for each of its outputs"
        )
    if bn.training:
        raise ValueError(f"cannot fold {bn}: it is in training mode; call .eval() first")
    scale, shift = bn.scale_and_shift()
    folded, old = copy.deepcopy(layer), layer.weight
    weight = scale.view(-1, *(1 for _ in old.shape[1:])) * old
    bias = shift if layer.bias is None else scale * layer.bias + shift
    folded.weight, folded.bias = (
        nn.Parameter(new.to(old.dtype), requires_grad=old.requires_grad) for new in (weight, bias)
    )
    return folded


def _foldable(layer: nn.Module, bn: nn.Module) -> bool:
    """An exact type: a subclass, such as a parametrized layer, may compute something else; so does
    a layer whose hook makes its weight, which is then no parameter."""
    form = FORMS.get(type(layer))
    if form is None or not isinstance(bn, form):
        return False
    weight = layer.weight
    return isinstance(weight, nn.Parameter) and bn.weight.shape == weight.shape[:1]


def fold(model: nn.Module) -> nn.Module:
    """A copy of `model` for inference, with BN folded into the layer before it where possible.

    The layer before is found by torch.fx: its output goes to the BN alone, and each of the two is
    applied once. nn.Identity replaces the folded BN. BN per activation on feature maps stays, and
    so do layers of `torch.nn`, which `from_torch` converts.

    Raises ValueError for a model in training mode, for one without a BN layer of `bn_repro.norm`,
    and for one whose forward pass torch.fx cannot follow.
    """
    layers_of(model)
    if any(module.training for module in model.modules()):
        raise ValueError(f"fold: {type(model).__name__} is in training mode; call .eval() first")
    folded = copy.deepcopy(model)
    new: dict[nn.Module, nn.Module] = {}
    for layer, bn in _pairs(folded):
        new |= {layer: fold_into(layer, bn), bn: nn.Identity().eval()}
    return replaced(folded, new)


class _Tracer(fx.Tracer):
    """Looks into modules that have children, and takes all others as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        childless = next(m.children(), None) is None
        return childless or super().is_leaf_module(m, module_qualified_name)


def _pairs(model: nn.Module) -> list[tuple[Affine, BatchNorm]]:
    """Each layer of `model` that BN can be folded into, with that BN."""
    try:
        nodes = _Tracer().trace(model).nodes
    except Exception as error:  # whatever the model's own code raises on torch.fx's stand-ins
        raise ValueError(
            f"fold: torch.fx cannot follow {type(model).__name__} "
            f"({str(error).partition(chr(10))[0]}); fold its layers one by one with fold_into"
        ) from error
    called = [node for node in nodes if node.op == "call_module"]
    times = Counter(node.target for node in called)
    read = [str(node.target) for node in nodes if node.op == "get_attr"]  # weights used elsewhere
    pairs = []
    for node in called:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        layer, bn = model.get_submodule(str(before.target)), model.get_submodule(str(node.target))
        once = times[node.target] == times[before.target] == 1
        shared = any(name.startswith(f"{before.target}.") for name in read)
        if once and not shared and _foldable(layer, bn):
            pairs.append((layer, bn))
    return pairs
