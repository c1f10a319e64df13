"""The likelihood score: how probable a causal LM finds a question after reading an excerpt of a session."""
