"""What every use of an LLM shares: prompt files, counting tokens, starting Ray and vLLM."""
