"""Batch generation: vLLM inside Ray Data's LLM processor, on GPUs or on a CPU, and the cache of what was generated."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from memsifter.io.files import sha256_json
from memsifter.io.text_cache import TextCache
from memsifter.llm.runtime import engine_arguments, engine_environment, require_resources, start_ray
from memsifter.models.references import fingerprint_model
from memsifter.params import ClusterParams, EngineParams, RankParams

logger = logging.getLogger(__name__)

# Pre- and postprocessing only move columns; a fraction of a core each leaves a two-core machine to the engine.
_COLUMN_STEP = {"num_cpus": 0.25}
_MOST_IN_FLIGHT = 16  # blocks that one engine has or that wait for it; Ray's own default, half of them at work


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """One prompt as the engine takes it; `sampling` holds vLLM's parameters (temperature, max_tokens, seed, …)."""

    prompt_id: str
    tokens: list[int]
    sampling: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """What the model wrote. Token counts are the engine's own.

    Attributes:
        prompt_id: of the prompt.
        text: what was decoded.
        prompt_tokens: tokens of the prompt.
        response_tokens: tokens decoded.
        logprobs: of the first token decoded, in nats, by token: at least those that the prompt's `logprob_token_ids`
            ask for; None where it asks for none.
    """

    prompt_id: str
    text: str
    prompt_tokens: int
    response_tokens: int
    logprobs: dict[int, float] | None = None


def generate(
    prompts: Sequence[TokenPrompt],
    model: Path,
    engine: EngineParams,
    cluster: ClusterParams,
    *,
    concurrency: int,
    batch_size: int,
    seed: int,
) -> Iterator[Response]:
    """Generate once for every prompt, yielding each batch as soon as it is done.

    The engine sees prompts in the given order, so that neighbours with a common prefix share its cache; results come
    in any order. With one seed per prompt in float32 the texts do not depend on batching; log-probabilities do, by some
    1e-5 nats, unless `engine.max_num_seqs` is 1.

    Args:
        prompts: their ids must be unique.
        model: Hugging Face directory.
        engine: vLLM's settings.
        cluster: Ray.
        concurrency: engine replicas.
        batch_size: prompts that a replica takes at a time (it keeps several such batches in flight).
        seed: the engine's seed; a prompt's own seed takes precedence.

    Raises:
        MemSifterError: the local Ray has fewer cores or GPUs than the engines need.
    """
    if not prompts:
        return
    start_ray(cluster)
    blocks, rows_per_block = split_evenly(len(prompts), batch_size)
    concurrency = min(concurrency, blocks)
    engines = concurrency * engine.tensor_parallel_size
    gpus = engines if engine.device == "cuda" else 0
    require_resources(cluster, "rank.concurrency", engines + 2 * _COLUMN_STEP["num_cpus"], gpus)
    import ray  # costs seconds, and a run that finds everything in the cache does not need it

    asked = max(len(prompt.sampling.get("logprob_token_ids", ())) for prompt in prompts)
    processor = build_engines(model, engine, concurrency, rows_per_block, blocks, seed, asked)
    # The engine has a column `request_id` of its own, hence `row_id`.
    rows = [
        {"row_id": prompt.prompt_id, "tokenized_prompt": prompt.tokens, "sampling_params": prompt.sampling}
        for prompt in prompts
    ]
    logger.info("generating %d responses with %s (%d engine replica(s))", len(rows), model.name, concurrency)
    for row in processor(ray.data.from_items(rows, override_num_blocks=blocks)).iter_rows():
        yield Response(**row | {"logprobs": _read_logprobs(json.loads(row["logprobs"]))})


def split_evenly(prompts: int, batch_size: int) -> tuple[int, int]:
    """Blocks of at most `batch_size` prompts, and the fewest prompts of one, as Ray Data cuts a list into blocks.

    Ray joins neighbouring blocks until they have as many rows as a batch: with the fewest, each block stays by itself.
    """
    blocks = -(-prompts // batch_size)
    return blocks, prompts // blocks


def build_engines(
    model: Path, engine: EngineParams, concurrency: int, batch_size: int, blocks: int, seed: int, logprobs: int
) -> Any:
    """Ray Data's LLM processor: from `row_id`, `tokenized_prompt` and `sampling_params` to the fields of `Response`.

    Args:
        model: as in `generate`, like the other arguments that are not named here.
        engine: vLLM's settings.
        concurrency: engine replicas.
        batch_size: the fewest prompts of a block.
        blocks: how many blocks there will be.
        seed: the engine's seed.
        logprobs: the most tokens whose log-probabilities a prompt asks for.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    arguments = engine_arguments(engine, seed, logprobs)
    bundle = {"CPU": 1.0} if engine.device == "cpu" else {"CPU": 1.0, "GPU": 1.0}
    config = vLLMEngineProcessorConfig(
        model_source=str(model),
        engine_kwargs=arguments,
        runtime_env={"env_vars": engine_environment(engine)},
        batch_size=batch_size,
        # All of them from the start: Ray would begin with one, and add others only while blocks pile up.
        concurrency=(concurrency, concurrency),
        # The first that is ready leaves the others their share.
        max_tasks_in_flight_per_actor=min(_MOST_IN_FLIGHT, -(-blocks // concurrency)),
        # Without bundles of its own the stage asks for a GPU and waits for ever where there is none.
        placement_group_config={"bundles": [bundle] * engine.tensor_parallel_size},
        # Prompts come tokenised and the engine writes text: these stages would only cost a process each.
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        log_engine_metrics=False,
    )
    return build_processor(
        config,
        postprocess=_from_engine,
        preprocess_map_kwargs=_COLUMN_STEP,
        postprocess_map_kwargs=_COLUMN_STEP,
    )


def _from_engine(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt_id": row["row_id"],
        "text": row["generated_text"],
        "prompt_tokens": row["num_input_tokens"],
        "response_tokens": row["num_generated_tokens"],
        # As text: the tokens differ from row to row, which makes no table.
        "logprobs": json.dumps(_first_logprobs(row.get("logprobs"))),
    }


def _first_logprobs(given: Any) -> dict[str, float] | None:
    """Log-probabilities of the first token, out of Ray's list of a dictionary per token."""
    if given is None or not len(given):
        return None
    return {str(token): float(about["logprob"]) for token, about in given[0].items()}


def _read_logprobs(values: Any) -> dict[int, float] | None:
    return None if values is None else {int(token): float(value) for token, value in values.items()}


def generate_cached(
    prompts: Sequence[TokenPrompt],
    model: Path,
    cache: TextCache,
    params: RankParams,
    cluster: ClusterParams,
    seed: int,
) -> dict[str, Response]:
    """Responses by prompt id. Each is sampled once, ever: what is in the cache is not generated again.

    Args:
        prompts: in the order in which the engine should see them.
        model: the ranker's directory; its content is part of the cache key.
        cache: responses of earlier runs.
        params: `rank` of params.yaml.
        cluster: Ray.
        seed: the engine's seed.
    """
    identity, engine = [fingerprint_model(model), params.engine.dtype], params.engine
    if one_by_one(prompts, engine):
        identity, engine = [*identity, "alone"], engine.model_copy(update={"max_num_seqs": 1})
    keys = {prompt.prompt_id: sha256_json([identity, prompt.tokens, prompt.sampling]) for prompt in prompts}
    responses: dict[str, Response] = {}
    for prompt_id, key in keys.items():
        if (response := _read_entry(prompt_id, cache.get(key))) is not None:
            responses[prompt_id] = response
    missing = [prompt for prompt in prompts if prompt.prompt_id not in responses]
    with tqdm(total=len(prompts), initial=len(responses), desc="rank", unit="prompt", disable=None) as bar:
        for response in generate(
            missing,
            model,
            engine,
            cluster,
            concurrency=params.concurrency,
            batch_size=params.batch_size,
            seed=seed,
        ):
            cache.put(keys[response.prompt_id], json.dumps(asdict(response)))
            responses[response.prompt_id] = response
            bar.update()
    return responses


def one_by_one(prompts: Sequence[TokenPrompt], engine: EngineParams) -> bool:
    """Whether the engine is to read prompts one after the other, so that no figure depends on what is read beside it.

    True on a CPU if log-probabilities of the first token are all that is asked for. A prompt of hundreds of tokens
    keeps all cores busy there, and nothing is decoded, which batches would speed up, so that it costs no time.
    """
    return engine.device == "cpu" and all(prompt.sampling.get("logprob_token_ids") for prompt in prompts)


def _read_entry(prompt_id: str, entry: str | None) -> Response | None:
    """What `generate_cached` stored; None where nothing is, or something else."""
    try:
        values = json.loads(entry or "null")
        text, *tokens = (values[name] for name in ("text", "prompt_tokens", "response_tokens"))
        logprobs = _read_logprobs(values.get("logprobs"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(text, str) or not all(isinstance(count, int) for count in tokens):
        return None
    prompt_tokens, response_tokens = tokens
    return Response(prompt_id, text, prompt_tokens, response_tokens, logprobs)
