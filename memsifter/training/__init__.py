"""Training a ranker: one round with verl, from RL data and a start model to checkpoints."""
