"""Fast Hugging Face tokenizers that need no model files."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Gemma's first template refuses a system message; others leave it out without a word.
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT_TEMPLATE
)
DROPS_SYSTEM_TEMPLATE = CHAT_TEMPLATE.replace("%}<|{{", "%}{% if message.role != 'system' %}<|{{").replace(
    "\n{% endfor", "\n{% endif %}{% endfor"
)
CORPUS = ["the cat sat on the mat and the dog sat on the log", "user: hello there\nassistant: hello to you"] * 20


def byte_tokenizer(
    merges: int = 0, chat_template: str | None = None, control: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: one token per UTF-8 byte, but for the `merges` most frequent pairs of a small text.

    `control` are special tokens, one each.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat_template)
