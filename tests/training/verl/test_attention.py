"""What sdpa is given for packed rows and for single sequences: the reason for one sequence per pass on a GPU."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

TOKENS = 24


@pytest.fixture
def model() -> Any:
    config = Qwen3Config(
        num_hidden_layers=1,
        hidden_size=32,
        intermediate_size=64,
        vocab_size=50,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def attend(model: Any, lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, Any, int]:
    """Logits of a packed row as verl gives it to the model; the mask and the heads of the keys that sdpa gets."""
    seen: list[tuple[Any, int]] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watch(query: Any, key: Any, value: Any, attn_mask: Any = None, **options: Any) -> torch.Tensor:
        seen.append((attn_mask, key.shape[1]))
        return real(query, key, value, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ids = (torch.arange(sum(lengths)) % 50)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=None, position_ids=positions, use_cache=False).logits
    monkeypatch.undo()
    return logits, *seen[0]


def test_one_sequence_needs_no_mask_and_no_copies(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, mask, heads = attend(model, [TOKENS], monkeypatch)
    assert (mask, heads) == (None, 2)


def test_two_sequences_get_a_dense_mask_and_copies_for_each_query_head(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, mask, heads = attend(model, [TOKENS // 2, TOKENS // 2], monkeypatch)
    assert (tuple(mask.shape), heads) == ((1, 1, TOKENS, TOKENS), 4)
    alone, _, _ = attend(model, [TOKENS // 2], monkeypatch)
    torch.testing.assert_close(packed[:, : TOKENS // 2], alone)
