"""Data sets in memory and streamed, and the order of their mini-batches."""
