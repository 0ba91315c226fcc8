"""BN layers of `torch.nn` as ours, and ours as those of `torch.nn`, with all that they learned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bn_repro.norm.batch_norm import BatchNorm, BatchNormPerActivation, BatchNormPerFeatureMap


def from_torch(
    model: nn.Module, batch_norm_1d: type[BatchNorm] = BatchNormPerActivation
) -> nn.Module:
    """A copy of `model` in which each `nn.BatchNorm1d`, `2d` and `3d` is one of our layers.

    `nn.BatchNorm1d` takes (N, width) and (N, C, L). Here it becomes `batch_norm_1d`, which is
    BatchNormPerActivation for the former and BatchNormPerFeatureMap for the latter; either refuses
    the other's inputs.

    Raises ValueError, naming it, for a layer with `track_running_stats=False` or with a gamma and
    no beta, and for one of another kind (`nn.SyncBatchNorm`).
    """
    forms = {
        nn.BatchNorm1d: batch_norm_1d,
        nn.BatchNorm2d: BatchNormPerFeatureMap,
        nn.BatchNorm3d: BatchNormPerFeatureMap,
    }

    def converted(layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, _BatchNorm):
            return None
        whole = layer.track_running_stats and (layer.weight is None) == (layer.bias is None)
        if type(layer) not in forms or not whole:
            raise ValueError(f"from_torch: {layer} has no counterpart; convert it by hand")
        form = forms[type(layer)]
        return _filled(form(layer.num_features, **_options(layer)), layer)

    return _converted(model, converted)


def to_torch(model: nn.Module, per_feature_map: type[_BatchNorm] = nn.BatchNorm2d) -> nn.Module:
    """A copy of `model` in which each BN layer of ours is one of `torch.nn`.

    BatchNormPerActivation becomes `nn.BatchNorm1d`; BatchNormPerFeatureMap `per_feature_map`, which
    is `nn.BatchNorm1d` or `nn.BatchNorm3d` where inputs are (N, C, L) or (N, C, D, H, W). A
    synchronized layer becomes `nn.SyncBatchNorm`, which computes the same.

    Raises ValueError, naming it, for BN per activation on feature maps.
    """

    def converted(layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, BatchNorm):
            return None
        if layer.weight.dim() > 1:
            raise ValueError(f"to_torch: {layer} has no counterpart in torch.nn")
        plain = nn.BatchNorm1d if isinstance(layer, BatchNormPerActivation) else per_feature_map
        form = nn.SyncBatchNorm if layer.synchronized else plain
        return _filled(form(len(layer.weight), **_options(layer)), layer)

    return _converted(model, converted)


def replaced(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """`model` itself, with `new[module]` for each of its modules in `new`, under all its names."""
    for parent in list(model.modules()):
        for name, module in parent._modules.items():
            if module is not None and module in new:
                parent._modules[name] = new[module]
    return new.get(model, model)


def _converted(model: nn.Module, convert: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    model = copy.deepcopy(model)
    pairs = ((module, convert(module)) for module in list(model.modules()))
    return replaced(model, {old: new for old, new in pairs if new is not None})


def _options(layer: BatchNorm | _BatchNorm) -> dict[str, Any]:
    return {"eps": layer.eps, "momentum": layer.momentum, "affine": layer.affine}


def _filled(new: nn.Module, old: nn.Module) -> nn.Module:
    """`new` with the very parameters and buffers of `old`, which are in a copy of the model."""
    for name, parameter in old.named_parameters():
        setattr(new, name, parameter)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(new, name, getattr(old, name))
    if isinstance(new, BatchNorm) and not new.affine:
        new.to(new.running_mean)  # gamma and beta lie with the averages
    return new.train(old.training)
