"""Batch normalization, to be read beside the paper (Ioffe & Szegedy 2015, arXiv 1502.03167v3).

    Algorithm 1, the transform of a mini-batch     batch_norm_forward               batch_norm.py
    Section 3, its gradients                       batch_norm_backward
    Algorithm 2, line 11, BN at inference          affine_map
    Sections 3 and 3.2, as layers                  BatchNormPerActivation, BatchNormPerFeatureMap
    Algorithm 2, line 10, population statistics    estimate_population_statistics   population.py
    Algorithm 2, line 11, in the layer before      fold_into, fold                  folding.py
    Models of torch.nn                             from_torch, to_torch             convert.py
    What a model takes as its normalization        Norm: none, batch, sync_batch,   kinds.py
                                                   layer, group, instance, weight

`docs/norm.md` shows them in a network of one's own.
"""

from bn_repro.norm.batch_norm import (
    BatchNorm,
    BatchNormPerActivation,
    BatchNormPerFeatureMap,
    Dims,
    affine_map,
    batch_norm_backward,
    batch_norm_forward,
    is_synchronized,
    mini_batch_mean,
    mini_batch_statistics,
)
from bn_repro.norm.convert import from_torch, to_torch
from bn_repro.norm.folding import fold, fold_into
from bn_repro.norm.kinds import Norm, Place, batch, group, instance, layer, none, sync_batch, weight
from bn_repro.norm.per_example import GroupNorm, InstanceNorm, LayerNorm
from bn_repro.norm.population import estimate_population_statistics, population_statistics
from bn_repro.norm.ranks import joined_statistics
from bn_repro.norm.weight_norm import weight_norm

__all__ = [
    "BatchNorm",
    "BatchNormPerActivation",
    "BatchNormPerFeatureMap",
    "Dims",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Norm",
    "Place",
    "affine_map",
    "batch",
    "batch_norm_backward",
    "batch_norm_forward",
    "estimate_population_statistics",
    "fold",
    "fold_into",
    "from_torch",
    "group",
    "instance",
    "is_synchronized",
    "joined_statistics",
    "layer",
    "mini_batch_mean",
    "mini_batch_statistics",
    "none",
    "population_statistics",
    "sync_batch",
    "to_torch",
    "weight",
    "weight_norm",
]
