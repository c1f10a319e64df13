"""A tiny language model, made on the spot: Qwen3's architecture, seeded random weights, a tokenizer trained here.

It knows nothing; it makes the training stage run whole in a minute, in tests and in CI.
"""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from memsifter.io.files import atomic_directory

_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = [
    "user",
    "assistant",
    "session",
    "date",
    "question",
    "answer",
    "ranking",
    "think",
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "is",
    "it",
    "you",
    "that",
    "was",
    "for",
    "on",
    "are",
    "with",
    "they",
    "have",
    "this",
    "from",
    "what",
    "which",
    "when",
    "where",
    "who",
    "did",
    "does",
    "go",
    "went",
    "like",
    "likes",
    "live",
    "lives",
    "work",
    "works",
    "name",
    "city",
    "food",
]


def write_tiny_model(out: Path, seed: int = 0, vocabulary: int = 512, max_tokens: int = 4096) -> None:
    """Write a Hugging Face directory of a Qwen3 model with about 360,000 parameters.

    The same arguments always give the same bytes. The vocabulary of the model is that of its tokenizer, row for row:
    with more rows, a sampled id could have no text, and verl's log-probabilities would not be vLLM's.

    Args:
        out: the directory; replaced whole.
        seed: of the weights and of the text that the tokenizer is trained on.
        vocabulary: tokens, the 256 bytes and 3 control tokens included.
        max_tokens: the longest context.
    """
    tokenizer = _train_tokenizer(seed, vocabulary)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["Qwen3ForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]), atomic_directory(out) as temporary:
        torch.manual_seed(seed)
        Qwen3ForCausalLM(config).float().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        _sort_keys(temporary / "tokenizer_config.json")


def _train_tokenizer(seed: int, vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that every text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    draw = random.Random(seed)
    numbers = ",".join(str(number) for number in range(100))
    lines = [" ".join(draw.choices(_WORDS, k=12)) for _ in range(200)]
    lines += ["<think>", "</think>", "<ranking>", "</ranking>", numbers] * 20
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END, pad_token=_PAD, bos_token=None, chat_template=_CHAT_TEMPLATE
    )


def _sort_keys(path: Path) -> None:
    """Write a JSON file in one order."""
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
