"""Weights & Biases and TensorBoard: what they show of a run's records, live or later. No torch."""
