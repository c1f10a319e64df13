"""Seeds of sampled responses, apart from the rollout so that they can be used without vLLM."""

from collections import Counter
from collections.abc import Sequence

from memsifter.io.files import sha256_json

_SEEDS = 1 << 31


class SeedSequence:
    """Seeds for the responses to each prompt, the same in every run whatever order the prompts come in."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._step = -1
        self._drawn: Counter[str] = Counter()

    def next(self, step: int, prompt_ids: Sequence[int]) -> int:
        """The next seed for a prompt in a step; steps before it are over."""
        if step != self._step:
            self._step, self._drawn = step, Counter()
        prompt = sha256_json([int(token) for token in prompt_ids])
        self._drawn[prompt] += 1
        return int(sha256_json([self._seed, step, prompt, self._drawn[prompt]]), 16) % _SEEDS
