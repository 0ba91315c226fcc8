"""A reproduction of Ioffe & Szegedy 2015, *Batch Normalization* (arXiv 1502.03167v3)."""

__version__ = "0.1.0"
