"""The shared ground: files, paths, child processes, a cache of texts."""
