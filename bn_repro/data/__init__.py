"""Data sets in memory and streamed, their augmentation, and the order of their mini-batches."""
