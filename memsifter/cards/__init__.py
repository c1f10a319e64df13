"""Model and data cards: Markdown with the metadata that model hubs read, from parameters and dvc.lock."""
