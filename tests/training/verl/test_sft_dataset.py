from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from memsifter.errors import MemSifterError
from memsifter.models.tiny import write_tiny_model
from memsifter.training.verl.sft_dataset import SftDataset, end_of_turn

ANSWER = "<think></think><ranking>2,1</ranking>"
PROMPT = [{"role": "user", "content": "which sessions?"}]
# A default system message as SmolLM2 has it, thoughts rewritten as Qwen3 does.
ADDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REWRITES_THOUGHTS = ADDS_SYSTEM.replace(
    "{{ message.content }}", "{{ message.content | replace('<think></think>', '<think>\n\n</think>\n\n') }}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "tiny"
    write_tiny_model(directory)
    return directory


@pytest.fixture
def tiny(model: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of each test's own: some give it another chat template."""
    return AutoTokenizer.from_pretrained(model)


def dataset(path: Path, tokenizer: PreTrainedTokenizerBase, prompt: list[Any], max_length: int = 500) -> SftDataset:
    rows = [{"messages": [*prompt, {"role": "assistant", "content": ANSWER}]}] * 2
    pq.write_table(pa.Table.from_pylist(rows), path / "examples.parquet")
    config = OmegaConf.create({"max_length": max_length})
    return SftDataset([str(path / "examples.parquet")], tokenizer, config)


@pytest.mark.parametrize("template", [None, ADDS_SYSTEM, REWRITES_THOUGHTS])
@pytest.mark.parametrize("prompt", [PROMPT, [{"role": "system", "content": "Rank."}, *PROMPT]])
def test_an_example_is_what_reinforcement_learning_sees(
    tiny: PreTrainedTokenizerBase, tmp_path: Path, template: str | None, prompt: list[dict[str, str]]
) -> None:
    tiny.chat_template = template or tiny.chat_template
    example = dataset(tmp_path, tiny, prompt)[1]
    rollout = tiny.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) + ANSWER + tiny.eos_token
    assert tiny.decode(example["input_ids"]) == rollout
    ids = tiny.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
    assert example["input_ids"][: len(ids)].tolist() == ids
    assert example["position_ids"].tolist() == list(range(len(example["input_ids"])))


def test_only_the_answer_and_the_end_of_the_turn_are_learnt(tiny: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    example = dataset(tmp_path, tiny, PROMPT)[0]
    learnt = example["input_ids"][example["loss_mask"] == 1]
    assert tiny.decode(learnt) == ANSWER + "<|im_end|>"


def test_every_row_is_an_example(tiny: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    assert len(dataset(tmp_path, tiny, PROMPT)) == 2


def test_an_example_that_does_not_fit_is_refused(tiny: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(MemSifterError, match=r"example 0 has \d+ tokens, more than .* \(20\)"):
        dataset(tmp_path, tiny, PROMPT, max_length=20)[0]


def test_the_end_of_the_turn_is_the_templates_not_the_eos_token(tiny: PreTrainedTokenizerBase) -> None:
    tiny.chat_template = "{% for message in messages %}{{ message.content }}<|endoftext|>\n{% endfor %}"
    assert end_of_turn(tiny) == tiny.convert_tokens_to_ids("<|endoftext|>") != tiny.eos_token_id


def test_a_template_that_ends_no_turn_is_refused(tiny: PreTrainedTokenizerBase) -> None:
    tiny.chat_template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    with pytest.raises(MemSifterError, match="does not end the assistant's turn"):
        end_of_turn(tiny)
