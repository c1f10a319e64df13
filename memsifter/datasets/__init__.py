"""Readers of datasets: one class per layout, with its parameters, its benchmarks, and `read`, which yields records."""

from memsifter.datasets.registry import read, read_dataset

__all__ = ["read", "read_dataset"]
