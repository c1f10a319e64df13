"""The ranker behind a server of its own: vLLM on loopback, with the settings of stage `rank`.

A process of its own, and not Ray Data's engine: it stays loaded between questions, takes several at once, and its
threads and environment are not the application's. One seed per prompt in float32 gives the texts of the stage.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from requests import RequestException, Session

from memsifter.chat.server import serve
from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.llm.tokens import load_tokenizer, opened_thought
from memsifter.params import RankParams
from memsifter.ranking.candidates import CoarseScores
from memsifter.ranking.engine import Response, TokenPrompt, one_by_one
from memsifter.ranking.fusion import decide_fusion
from memsifter.ranking.prompt import load_ranker_prompt
from memsifter.ranking.rank import build_prompts, read_candidates
from memsifter.ranking.rows import ranking_rows
from memsifter.ranking.weight import RankFusion
from memsifter.retrieval.lexical import LexicalIndex

logger = logging.getLogger(__name__)

_NAME = "ranker"
_TIMEOUT_S = 600.0
_THINK, _THINK_END = "<think>", "</think>"
_ID_PREFIX = "token_id:"


class Ranker:
    """A ranker that is ready to read. Close it, or use it in a `with` block."""

    def __init__(
        self,
        model: Path,
        params: RankParams,
        prompt: Path,
        seed: int,
        fusion: RankFusion | None = None,
    ) -> None:
        """Start the server, which takes tens of seconds.

        Args:
            model: Hugging Face directory.
            params: `rank` of params.yaml.
            prompt: the ranker's prompt file.
            seed: as of the stage: the n-th question of a call samples with `seed + n`.
            fusion: how its scores and the coarse ones make the order; None: as `rank.fusion` says, which is not
                `fitted` then, since there are no train questions here.

        Raises:
            MemSifterError: the fusion is not known, the prompt or the model is wrong, vLLM is not installed, or the
                server does not start.
        """
        _check_fusion(params, fusion)
        if find_spec("vllm") is None:
            raise MemSifterError(
                "a ranker runs in vLLM; `make setup DEVICE=cpu` (or gpu) installs it, the library alone has none"
            )
        self._params, self._seed, self._fusion = params, seed, fusion
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

    def rank(self, dataset: Dataset, scores: dict[str, CoarseScores], lexical: LexicalIndex) -> list[dict[str, Any]]:
        """Rank for every question; rows of `memsifter.ranking.rows.RANKINGS_SCHEMA`, in the dataset's order.

        Args:
            dataset: the questions and their haystacks.
            scores: (n,) coarse scores in haystack order, by question id.
            lexical: the terms of the dataset, which choose excerpts.

        Raises:
            MemSifterError: no session fits the ranker's context, or the server failed.
        """
        prompts = build_prompts(dataset, scores, self._prompt, self.tokenizer, self._params, lexical, self._seed)
        readings = read_candidates(prompts, self._generate, self.tokenizer, self._prompt.base, self._params)
        fusion = self._fusion or decide_fusion(self._params, (), dataset)
        return list(ranking_rows(prompts, readings, dataset, scores, self._params, fusion))

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
            # A pass over the first numbers asks for at most one token of each candidate's number.
            logprobs = self._params.max_candidates if self._params.scores == "first_number" else 0
            with serve(model, _NAME, self._params.engine, self._seed, logprobs) as url:
                self._url = url
                self._ready.set()
                self._ended.wait()
        except Exception as error:
            self._failure = error
        finally:
            self._ready.set()

    def _generate(self, prompts: Sequence[TokenPrompt]) -> dict[str, Response]:
        """Responses by prompt id, from the server."""
        # Alone in the engine where stage `rank` reads them so, for the same bits.
        at_once = 1 if one_by_one(prompts, self._params.engine) else self._params.engine.max_num_seqs
        with ThreadPoolExecutor(at_once) as pool, Session() as session:
            session.trust_env = False  # a proxy from the environment cannot reach this machine's loopback addresses
            responses = list(pool.map(lambda prompt: self._ask(session, prompt), prompts))
        return {response.prompt_id: response for response in responses}

    def _ask(self, session: Session, prompt: TokenPrompt) -> Response:
        body = {"model": _NAME, "prompt": prompt.tokens, **prompt.sampling}
        if "logprob_token_ids" in prompt.sampling:
            # The server wants their number as well, and names tokens by their text unless asked for their ids.
            body |= {"logprobs": len(prompt.sampling["logprob_token_ids"]), "return_tokens_as_token_ids": True}
        try:
            reply = session.post(f"{self._url}/completions", json=body, timeout=_TIMEOUT_S)
            reply.raise_for_status()
            content = reply.json()
            choice, usage = content["choices"][0], content["usage"]
            counts = usage["prompt_tokens"], usage["completion_tokens"]
            return Response(prompt.prompt_id, choice["text"], *counts, _first_logprobs(choice.get("logprobs")))
        except (RequestException, ValueError, LookupError, TypeError) as error:
            raise MemSifterError(
                f"the ranker's server gave no ranking ({' '.join(str(error).split())[:300]}); make a new Sifter"
            ) from error


def _first_logprobs(given: dict[str, Any] | None) -> dict[int, float] | None:
    """Log-probabilities of the first token, by token, out of the server's `token_id:<number>`."""
    if given is None:
        return None
    return {int(name.removeprefix(_ID_PREFIX)): float(value) for name, value in given["top_logprobs"][0].items()}


def _check_fusion(params: RankParams, fusion: RankFusion | None) -> None:
    if fusion is None and params.fusion == "fitted":
        raise MemSifterError(
            "rank.fusion is fitted, and there are no train questions here; give the fusion that stage rank has fitted "
            "(data/rankings/<ranker>/<dataset>.json), or set rank.fusion to written or to a weight"
        )
    if fusion is not None and fusion.method == "order":
        raise MemSifterError("the fusion is that of a coarse order, not of a ranker; give that of this ranker")
