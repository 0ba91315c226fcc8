"""A reproduction of Ioffe & Szegedy 2015, *Batch Normalization* (arXiv 1502.03167v3).

``load`` and ``export`` import torch when they are called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bn_repro.training.weights import Trained

__version__ = "0.1.0"


def load(path: str | Path) -> Trained:
    """The trained network and the configuration of a completed run's directory, or of a file that
    :func:`export` wrote: ``network, config = bn_repro.load(path)``.

    The network is in eval mode on the CPU. ValueError, in one line, for what is not whole.
    """
    from bn_repro.training import weights

    return weights.load(path)


def export(directory: str | Path, file: str | Path) -> Path:
    """Write a completed run's network to ``file`` (safetensors), and its model card beside it.

    Returns the card's path.
    """
    from bn_repro.training import weights

    return weights.export(directory, file)
