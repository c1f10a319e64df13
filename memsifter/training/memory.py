"""What a training round holds in memory, by formulas from the model's config.json and the parameters.

P parameters, n = `train.nnodes` x `train.gpus_per_node` GPUs, T tokens of a forward pass on one GPU, L layers, H
hidden, V vocabulary; e bytes of a number in a pass: 2 on a GPU, 4 on a CPU. FSDP keeps float32 weights, gradients and
the two moments of AdamW, split among the GPUs; a pass gathers a layer at a time, and the embedding for all its length.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memsifter.errors import MemSifterError
from memsifter.llm.runtime import cpu_kv_cache_bytes
from memsifter.params import Params
from memsifter.training.verl.attention import (
    choose_attention,
    has_flash_attention,
    micro_batch_tokens,
    packs_sequences,
)

GIB = 1 << 30
Phase = Literal["warm start", "update", "generate"]
_FUSED_TOKENS = 512  # of verl's fused head: that many tokens' logits exist at a time
_CONTEXT_GIB = 1.5  # CUDA, NCCL and the kernels of one process
# Of a run on a CPU, weights and caches apart, measured as the sum of proportional set sizes.
_RUNTIME_GIB = 6.5  # the stage, Ray, and the interpreters of verl's ten processes and of the rollout's engine
_SERVER_GIB = 1.5  # the working LLM's server and its engine
_TRAINER_GIB = 1.0  # of one interpreter that has torch, transformers and verl loaded
_MASK_COPIES = 6  # while transformers builds a dense mask


@dataclass(frozen=True)
class ModelShape:
    """What of a model decides its memory.

    Attributes:
        parameters: all, tied ones once.
        embedding: of the embedding and, where it is not tied to it, of the output layer.
        layers: transformer blocks.
        hidden: width of the residual stream.
        intermediate: width of the MLP.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of a head.
        vocabulary: rows of the embedding.
        query_norm: whether queries and keys have norms of their own, as in Qwen3.
    """

    parameters: int
    embedding: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    query_norm: bool

    @property
    def block(self) -> int:
        """Parameters of a block."""
        return (self.parameters - self.embedding) // self.layers

    def block_bytes(self, size: int) -> int:
        """Bytes per token that a block keeps for its backward pass, with numbers of `size` bytes.

        A norm keeps its float32 input, what it makes of it, and its output; attention keeps queries, keys, values, and
        its output in two layouts; the MLP its gate, its activation, its other half and their product.
        """
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        norms = 2 * (4 + 2 * size) * self.hidden + (4 + size) * (queries + keys) * self.query_norm
        return norms + size * (3 * queries + 2 * keys + 4 * self.intermediate)

    def kv_bytes(self, size: int) -> int:
        """Bytes per token of the cache of keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_dim * size


def read_shape(model: Path) -> ModelShape:
    """The shape of a Hugging Face directory, or of a config.json alone. No weights are read.

    Raises:
        MemSifterError: there is no config.json, or transformers does not know the architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        with torch.device("meta"):
            module = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise MemSifterError(f"{model}: no config.json that transformers understands ({error})") from error
    text = config.get_text_config()
    ends = {id(layer.weight): layer.weight.numel() for layer in _ends(module)}
    heads = text.num_attention_heads
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        embedding=sum(ends.values()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
        query_norm=any("q_norm" in name for name, _ in module.named_parameters()),
    )


def _ends(module: Any) -> list[Any]:
    return [layer for layer in (module.get_input_embeddings(), module.get_output_embeddings()) if layer is not None]


@dataclass(frozen=True)
class Part:
    """One use of memory: its name, bytes, the formula in words, when it is there, and what makes it smaller."""

    name: str
    bytes: float
    formula: str
    phases: tuple[Phase, ...]
    remedy: str


def list_parts(
    params: Params, shape: ModelShape, available: float, server: ModelShape | None, warm: bool = False
) -> list[Part]:
    """Everything that a round holds in the memory of one GPU, or of the machine on a CPU.

    Args:
        params: all parameters.
        shape: of the model that is trained.
        available: bytes of each GPU.
        server: of the working LLM that is served beside the rollout; None: an endpoint, or none is asked.
        warm: whether a warm start comes first.
    """
    others = (
        _on_gpu(params, shape, available, server) if params.train.device == "cuda" else _on_cpu(params, shape, server)
    )
    return [*_trainer(params, shape), *others, *([_warm_start(params, shape)] if warm else [])]


def one_response_bytes(params: Params, shape: ModelShape) -> float:
    """What the rollout needs on a GPU for its weights and the keys and values of the longest sequence."""
    longest = params.rank.context_tokens + params.rank.max_tokens
    return (2 * shape.parameters + longest * shape.kv_bytes(2)) / params.train.tensor_parallel_size


def _trainer(params: Params, shape: ModelShape) -> list[Part]:
    train, cuda = params.train, params.train.device == "cuda"
    size = 2 if cuda else 4
    gpus = train.nnodes * train.gpus_per_node if cuda else 1  # the processes of a CPU share its memory
    longest = params.rank.context_tokens + params.rank.max_tokens
    installed = train.ulysses > 1 or train.attention == "flash_attention_2" or has_flash_attention()  # where it trains
    packs = packs_sequences(train, installed)
    tokens = micro_batch_tokens(train, longest) if packs else longest
    kept: tuple[Phase, ...] = ("update",) if train.offload and cuda else ("update", "generate")
    more = "more GPUs (train.gpus_per_node, train.nnodes) or a smaller model"
    shorter = "lower rank.context_tokens or rank.max_tokens" + (", or raise train.ulysses" if cuda else "")
    blocks = 1 if cuda else shape.layers  # gradient checkpointing computes a block's again
    passes = tokens * (1 if cuda else train.gpus_per_node)  # at the same time in the same memory
    parts = [
        Part("weights", 4 * shape.parameters / gpus, "4 P / n", kept, more),
        Part("gradients", 4 * shape.parameters / gpus, "4 P / n", ("update",), more),
        Part("optimizer", 8 * shape.parameters / gpus, "8 P / n", kept, f"train.offload=true, or {more}"),
        Part(
            "activations",
            passes * (blocks * shape.block_bytes(size) + size * (shape.intermediate * 2 + shape.hidden * 2)),
            f"T x {blocks} block(s), and the gradients of one",
            ("update",),
            shorter,
        ),
    ]
    if cuda:
        parts += [
            Part("checkpoints", tokens * shape.layers * shape.hidden * size, "e T L H", ("update",), shorter),
            Part(
                "gathered layers",
                2 * size * shape.block + (2 * size + 4) * shape.embedding,
                "2 e block + (2 e + 4) embedding",
                ("update",),
                "a smaller model",
            ),
            Part("logits", 12 * _FUSED_TOKENS * shape.vocabulary, "3 x 4 x 512 V", ("update",), "a smaller model"),
        ]
    else:
        parts.append(Part("logits", 3 * size * passes * shape.vocabulary, "3 e T V", ("update",), shorter))
    if packs and choose_attention(train, installed) == "sdpa" and tokens > longest:
        parts.append(Part("mask", _MASK_COPIES * tokens**2, "6 T T", ("update",), "lower train.micro_batch_tokens"))
    return parts


def _warm_start(params: Params, shape: ModelShape) -> Part:
    """The trainer alone, before anything else is started: on one machine, and with nothing offloaded."""
    train = params.train
    alone = params.model_copy(update={"train": train.model_copy(update={"nnodes": 1, "offload": False})})
    parts = [part for part in _trainer(alone, shape) if "update" in part.phases]
    process = _CONTEXT_GIB if train.device == "cuda" else _TRAINER_GIB * train.gpus_per_node
    return Part(
        "warm start",
        sum(part.bytes for part in parts) + process * GIB,
        "the trainer by itself, on one machine, nothing offloaded",
        ("warm start",),
        "more GPUs on one machine (train.gpus_per_node), a smaller model, or no rounds.*.warm_start",
    )


def _on_gpu(params: Params, shape: ModelShape, available: float, server: ModelShape | None) -> list[Part]:
    weights = 2 * shape.parameters / params.train.tensor_parallel_size
    cache = max(params.train.rollout_memory * available - weights, 0.0)
    responses = cache / (one_response_bytes(params, shape) - weights)
    both: tuple[Phase, ...] = ("update", "generate")
    parts = [
        Part("rollout: weights", weights, "2 P / TP", ("generate",), "raise train.tensor_parallel_size"),
        Part(
            "rollout: KV cache",
            cache,
            f"rest of train.rollout_memory: {responses:.1f} responses of the greatest length at once",
            ("generate",),
            "lower train.rollout_memory",
        ),
        Part("CUDA", 2 * _CONTEXT_GIB * GIB, "trainer and rollout, 1.5 GiB each", both, "nothing"),
    ]
    if server is not None:
        held = params.train.working_llm_memory * available
        parts.append(Part("working LLM", held, "train.working_llm_memory", both, "lower train.working_llm_memory"))
    return parts


def _on_cpu(params: Params, shape: ModelShape, server: ModelShape | None) -> list[Part]:
    both: tuple[Phase, ...] = ("update", "generate")
    kv = cpu_kv_cache_bytes(params.rank.engine)
    parts = [
        # vLLM packs the weights, and keeps what the next step's are loaded into.
        Part("rollout", 8 * shape.parameters + kv, "8 P + its cache", both, "lower rank.engine.cpu_kv_cache_gib"),
        Part("processes", _RUNTIME_GIB * GIB, "Ray and verl", both, "end other programs"),
    ]
    if server is not None:
        engine = params.chat.engine
        weights = (4 if engine.dtype == "float32" else 2) * server.parameters
        held = weights + cpu_kv_cache_bytes(engine) + _SERVER_GIB * GIB
        remedy = "lower chat.engine.cpu_kv_cache_gib, or ask an endpoint (chat.base_url)"
        parts.append(Part("working LLM", held, "its weights, cache and server", both, remedy))
    return parts
