"""One self-contained HTML page about what the pipeline computed: `python -m memsifter.report`."""
