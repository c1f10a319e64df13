"""Deliberate damage, and what comes of it: `python -m bench.faults --help`."""
