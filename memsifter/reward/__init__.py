"""The reward: how much a ranking helps the working LLM (paper section on outcome reward; formulas in `tiers`)."""
