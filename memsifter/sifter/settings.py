"""What a sifter is made with: the pipeline's typed parameters, and the fitted weights that ship with the package."""

from dataclasses import dataclass, field
from pathlib import Path

from memsifter.fusion.combine import FittedWeights, read_weights
from memsifter.params import (
    Bm25Params,
    ChatParams,
    EmbedParams,
    EngineParams,
    FitParams,
    FusionWeights,
    LikelihoodParams,
    RankParams,
    RetrievalParams,
    load_params,
)

WEIGHTS_FILE = Path(__file__).parent / "weights.json"
"""The weights of `retrieval.fusion: fitted` that ship with the package; `memsifter weights` writes them."""
PROMPTS_DIRECTORY = Path(__file__).parent / "prompts"
"""The prompt files, `configs/prompts` of the repository, as they ship with the package."""


def _default_retrieval() -> RetrievalParams:
    return RetrievalParams(
        weights=FusionWeights(), bm25=Bm25Params(), likelihood=LikelihoodParams(), fit=FitParams(datasets=())
    )


def _default_chat() -> ChatParams:
    # Somebody waits for the answer: few tries, where a stage that has thousands to send waits out an outage.
    return ChatParams(context_tokens=8000, max_retries=3, engine=EngineParams())


@dataclass(frozen=True)
class SifterSettings:
    """Parameters of the pipeline (docs/parameters.md), by default those of the typed parameters.

    Attributes:
        embed: the embedder. `cpus_per_worker` threads compute; `gpus_per_worker` above 0 puts it on a GPU.
        retrieval: the coarse filter.
        rank: the ranker; of no effect without one. By default its own order comes first (`fusion: written`): a weight
            can be fitted only where there are train questions.
        chat: the working LLM of `answer`; by default its context is 8,000 tokens, and a request that fails is sent at
            most four times.
        seed: of the ranker's and the working LLM's sampling.
        excerpt_tokens: the longest excerpt, in tokens of the embedder.
    """

    embed: EmbedParams = field(default_factory=EmbedParams)
    retrieval: RetrievalParams = field(default_factory=_default_retrieval)
    rank: RankParams = field(default_factory=lambda: RankParams(engine=EngineParams(), fusion="written"))
    chat: ChatParams = field(default_factory=_default_chat)
    seed: int = 7
    excerpt_tokens: int = 96

    @classmethod
    def read(cls, path: Path | str) -> "SifterSettings":
        """The settings of a pipeline's `params.yaml`, so that the sifter gives what its stages gave.

        Raises:
            MemSifterError: the file is missing or wrong.
        """
        params = load_params(Path(path))
        return cls(embed=params.embed, retrieval=params.retrieval, rank=params.rank, chat=params.chat, seed=params.seed)


def method_weights(path: Path, params: RetrievalParams) -> FittedWeights:
    """The weights of a file that `retrieval.fusion` needs: of `fitted_likelihood`, else of `fitted`.

    Raises:
        MemSifterError: as `memsifter.fusion.combine.read_weights`.
    """
    return read_weights(path, "fitted_likelihood" if params.fusion == "fitted_likelihood" else "fitted")
