"""LoRA adapters of peft: put on a model for training, and merged into it for everything that reads models."""

from pathlib import Path
from typing import TYPE_CHECKING

from memsifter.errors import MemSifterError
from memsifter.models.check import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def load_causal_lm(directory: Path, dtype: str) -> "PreTrainedModel":
    """The causal LM of a Hugging Face directory, on the CPU; `dtype` is torch's name of a number format."""
    import torch
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
        )
    return model


def add_adapter(model: "PreTrainedModel", rank: int) -> "PeftModel":
    """A new adapter on all linear layers but the output layer; it changes nothing until it is trained.

    Its float32 matrices are drawn from torch's random numbers: seed them first. Its alpha is twice the rank.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted: PeftModel = get_peft_model(model, settings)
    return adapted


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the model that an adapter makes of another one, in float32: narrower formats would round small changes off.

    Args:
        base: Hugging Face directory of the model that the adapter was trained on.
        adapter: directory with `adapter_config.json` and `adapter_model.safetensors`.
        out: existing directory for the weights, config and tokenizer.

    Raises:
        MemSifterError: the adapter is not whole, or does not fit the model.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (adapter / name).is_file():
            raise MemSifterError(f"{adapter}: {name} is missing; an adapter is both, as peft saves them")
    model = load_causal_lm(base, "float32")
    try:
        with quiet_transformers():
            merged = PeftModel.from_pretrained(model, adapter, is_trainable=False, local_files_only=True)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MemSifterError(f"{adapter}: does not fit the model {base} ({reason})") from error
    merged.merge_and_unload().save_pretrained(out, safe_serialization=True)
    AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False).save_pretrained(out)
