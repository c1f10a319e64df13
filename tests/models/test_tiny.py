from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from memsifter.models.check import check_model
from memsifter.models.references import fingerprint_model
from memsifter.models.tiny import write_tiny_model


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        write_tiny_model(tmp_path / name, seed)
    first, second, other = (fingerprint_model(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second != other


def test_it_is_a_small_qwen3_with_a_row_per_token(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    check_model(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.model_type == "qwen3"
    assert model.config.vocab_size == len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert 100_000 < model.num_parameters() < 1_000_000
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_every_text_survives_its_tokenizer(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "<think>naïve 你好 \U0001f642</think>\n<ranking>3,0</ranking>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
