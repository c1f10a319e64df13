"""One self-contained HTML page about what the pipeline computed: `memsifter report`."""
