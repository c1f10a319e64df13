"""Reading on Ray through a cache: each distinct text is read once, ever, and an interrupted run goes on."""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from memsifter.errors import MemSifterError
from memsifter.io.files import sha256_json
from memsifter.io.text_cache import TextCache
from memsifter.likelihood.model import LikelihoodReader, ScoredText, form_batches
from memsifter.likelihood.texts import QuestionTexts
from memsifter.llm.workers import read_blocks
from memsifter.models.references import fingerprint_model
from memsifter.params import ClusterParams, LikelihoodParams

logger = logging.getLogger(__name__)

LIKELIHOODS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("likelihood", pa.list_(pa.float32())),
        ("tokens", pa.int32()),
    ]
)
"""A row per question: log P(question | date, excerpt) of its sessions in haystack order, in nats, null for those that
were not read; and how many tokens were read for it."""

# The last bits of a value depend on the shape of its batch, on the kind of CPU and on the number of threads: on SmolLM2
# up to 0.00006 nats. What is kept are thousandths of a nat, which seldom depend on them, and no ranking needs more.
_DECIMALS = 3


def score_texts(
    texts: Sequence[ScoredText], model: Path, cache: TextCache, params: LikelihoodParams, cluster: ClusterParams
) -> list[float]:
    """The log-likelihood of each text; Ray starts only when one is not in the cache.

    Args:
        texts: what is read; equal ones are read once.
        model: the model's directory; its content is part of the cache key.
        cache: of earlier runs; each finished batch is added at once, as a whole.
        params: number format, size of batches and workers.
        cluster: Ray.

    Returns:
        In nats, rounded to thousandths.

    Raises:
        MemSifterError: this machine cannot give the workers what they ask for, or a value is not finite.
    """
    identity = [fingerprint_model(model), params.dtype]
    keys = [sha256_json([identity, text.tokens, text.scored]) for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    known = {key: value for key in distinct if (value := _read_entry(cache.get(key))) is not None}
    missing = {key: text for key, text in distinct.items() if key not in known}
    if missing:
        known |= _read_missing(missing, len(known), model, cache, params, cluster)
    return [known[key] for key in keys]


def _read_missing(
    missing: dict[str, ScoredText],
    cached: int,
    model: Path,
    cache: TextCache,
    params: LikelihoodParams,
    cluster: ClusterParams,
) -> dict[str, float]:
    blocks = text_blocks(missing, params.batch_tokens)
    arguments = (str(model.resolve()), params)
    results = read_blocks(blocks, LikelihoodReader, arguments, params, "retrieval.likelihood.workers", cluster)
    values: dict[str, float] = {}
    started = time.monotonic()
    with tqdm(total=len(missing) + cached, initial=cached, desc="likelihood", unit="text", disable=None) as bar:
        for rows in results:
            batch = read_values(rows, model, params.dtype)
            cache.put_all({key: json.dumps(value) for key, value in batch.items()})
            values |= batch
            bar.update(rows.num_rows)
    seconds = time.monotonic() - started
    tokens = sum(len(text.tokens) for text in missing.values())
    logger.info(
        "%d texts, %d tokens read in %.1f s, start of the workers included: %.0f tokens/s; %d texts were in the cache",
        len(missing),
        tokens,
        seconds,
        tokens / seconds,
        cached,
    )
    return values


def text_blocks(texts: Mapping[str, ScoredText], batch_tokens: int) -> list[pa.Table]:
    """What a `LikelihoodReader` reads at once, and then the next; texts by key.

    Longest first: batches hold texts of like length, and the last ones, which level the workers' load, are short.
    """
    order = sorted(texts, key=lambda key: (-len(texts[key].tokens), key))
    batches = form_batches([len(texts[key].tokens) for key in order], batch_tokens)
    return [_block(order[batch.start : batch.stop], texts) for batch in batches]


def _block(keys: Sequence[str], texts: Mapping[str, ScoredText]) -> pa.Table:
    return pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "tokens": pa.array([texts[key].tokens for key in keys], pa.list_(pa.int32())),
            "scored": pa.array([texts[key].scored for key in keys], pa.int32()),
        }
    )


def read_values(rows: pa.Table, model: Path, dtype: str) -> dict[str, float]:
    """What a `LikelihoodReader` gave, by key, rounded to thousandths of a nat.

    Raises:
        MemSifterError: a value is not finite.
    """
    values = dict(zip(rows["key"].to_pylist(), rows["log_likelihood"].to_pylist(), strict=True))
    for value in values.values():
        if not math.isfinite(value):
            raise MemSifterError(
                f"{model}: a log-likelihood is {value}, not a finite number; its weights are damaged, or "
                f"retrieval.likelihood.dtype ({dtype}) does not suit them"
            )
    return {key: round(value, _DECIMALS) for key, value in values.items()}


def _read_entry(entry: str | None) -> float | None:
    """What `score_texts` stored; None where nothing is, or something else."""
    try:
        value = json.loads(entry or "null")
    except ValueError:
        return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def score_questions(
    texts: Sequence[QuestionTexts], model: Path, cache: TextCache, params: LikelihoodParams, cluster: ClusterParams
) -> pa.Table:
    """Read what is to be read for every question; a table of `LIKELIHOODS_SCHEMA` in the order of `texts`."""
    values = score_texts([text for item in texts for text in item.texts], model, cache, params, cluster)
    return likelihood_table(texts, values)


def likelihood_table(texts: Sequence[QuestionTexts], values: Iterable[float]) -> pa.Table:
    """The table of `LIKELIHOODS_SCHEMA` for what was read, in the order of `texts`; a value for each of their texts."""
    given = iter(values)
    rows = []
    for item in texts:
        likelihood: list[float | None] = [None] * item.sessions
        for position in item.positions:
            likelihood[position] = next(given)
        tokens = sum(len(text.tokens) for text in item.texts)
        rows.append({"question_id": item.question.question_id, "likelihood": likelihood, "tokens": tokens})
    return pa.Table.from_pylist(rows, schema=LIKELIHOODS_SCHEMA)
