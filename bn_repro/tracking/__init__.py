"""Weights & Biases and TensorBoard: what they are shown of a run's records, live or later. No torch."""
