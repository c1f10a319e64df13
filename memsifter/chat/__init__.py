"""The working LLM: its prompts and contexts, a client of its endpoint, a local server, and the judge of its answers."""
