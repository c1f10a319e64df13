"""The sifter over HTTP and MCP: a thin layer over `memsifter.sifter`."""
