"""Motherlode: offline triplet mining over a whole dataset, in a loop with training."""

__version__ = "0.1.0"
