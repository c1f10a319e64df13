"""The ranker behind a server of its own: vLLM on loopback, with the settings of stage `rank`.

A process of its own, and not Ray Data's engine: it stays loaded between questions, takes several at once, and its
threads and environment are not the application's. One seed per prompt in float32 gives the texts of the stage.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from requests import RequestException, Session

from memsifter.chat.server import serve
from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.tokens import load_tokenizer, opened_thought
from memsifter.params import RankParams
from memsifter.ranking.candidates import CoarseScores
from memsifter.ranking.engine import Response, TokenPrompt
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import build_prompts, read_responses

logger = logging.getLogger(__name__)

_NAME = "ranker"
_TIMEOUT_S = 600.0
_THINK, _THINK_END = "<think>", "</think>"


class Ranker:
    """A ranker that is ready to read. Close it, or use it in a `with` block."""

    def __init__(self, model: Path, params: RankParams, prompt: Path, seed: int) -> None:
        """Start the server, which takes tens of seconds.

        Args:
            model: Hugging Face directory.
            params: `rank` of params.yaml.
            prompt: the ranker's prompt file.
            seed: as of the stage: the n-th question of a call samples with `seed + n`.

        Raises:
            MemSifterError: the prompt or the model is wrong, or the server does not start.
        """
        self._params, self._seed = params, seed
        self._prompt = load_ranker_prompt(prompt)
        self.tokenizer = load_tokenizer(model)
        self._opened = opened_thought(self.tokenizer)
        self._url = ""
        self._failure: Exception | None = None
        self._ready, self._ended = threading.Event(), threading.Event()
        # A child ends with the thread that started it, so that thread lives as long as the server.
        self._thread = threading.Thread(target=self._serve, args=(model,), name="memsifter-ranker", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def rank(self, dataset: Dataset, scores: dict[str, CoarseScores]) -> list[dict[str, Any]]:
        """Rank for every question; rows of `memsifter.ranking.rank.RANKINGS_SCHEMA`, in the dataset's order.

        Args:
            dataset: the questions and their haystacks.
            scores: (n,) coarse scores in haystack order, by question id.

        Raises:
            MemSifterError: no session fits the ranker's context, or the server failed.
        """
        prompts = build_prompts(dataset, scores, self._prompt, self.tokenizer, self._params, self._seed)
        with ThreadPoolExecutor(self._params.engine.max_num_seqs) as pool, Session() as session:
            session.trust_env = False  # a proxy from the environment cannot reach this machine's loopback addresses
            responses = list(pool.map(lambda item: self._ask(session, item.prompt), prompts))
        by_id = {response.prompt_id: response for response in responses}
        return list(read_responses(prompts, by_id, dataset, scores, self._prompt.base, self._opened))

    def thought(self, response: str) -> str:
        """What a response thinks before it ranks; "" where it does not."""
        said, closed, _ = (self._opened + response).rpartition(_THINK_END)
        return said.partition(_THINK)[2].strip() if closed else ""

    def close(self) -> None:
        """Stop the server."""
        self._ended.set()
        self._thread.join()

    def _serve(self, model: Path) -> None:
        try:
            with serve(model, _NAME, self._params.engine, self._seed) as url:
                self._url = url
                self._ready.set()
                self._ended.wait()
        except Exception as error:
            self._failure = error
        finally:
            self._ready.set()

    def _ask(self, session: Session, prompt: TokenPrompt) -> Response:
        body = {"model": _NAME, "prompt": prompt.tokens, **prompt.sampling}
        try:
            reply = session.post(f"{self._url}/completions", json=body, timeout=_TIMEOUT_S)
            reply.raise_for_status()
            content = reply.json()
            text, usage = content["choices"][0]["text"], content["usage"]
            return Response(prompt.prompt_id, text, usage["prompt_tokens"], usage["completion_tokens"])
        except (RequestException, ValueError, LookupError, TypeError) as error:
            raise MemSifterError(
                f"the ranker's server gave no ranking ({' '.join(str(error).split())[:300]}); make a new Sifter"
            ) from error


def ranking_thoughts(ranker: Ranker, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The thought of each row's response, by question id."""
    return {row["question_id"]: ranker.thought(row["response"]) for row in rows}
