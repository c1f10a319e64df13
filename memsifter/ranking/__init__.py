"""The ranker: the candidates it sees, its prompt, the engine that runs it, and the reading of what it wrote."""
