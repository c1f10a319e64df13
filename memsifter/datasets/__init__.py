"""Readers: one class per source, each a generator of haystacks, questions and issues, and the parameters of that."""

from memsifter.datasets.registry import read, read_dataset

__all__ = ["read", "read_dataset"]
