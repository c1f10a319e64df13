"""The built-in synthetic dataset: a plan of facts and questions, and the sessions that are written around it."""
