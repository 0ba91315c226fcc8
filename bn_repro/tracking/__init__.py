"""Weights & Biases: what it is sent of a run's records, live or later. No torch."""
