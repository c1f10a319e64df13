"""LoRA adapters of peft: put on a model for training, and merged into it for everything that reads models."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from memsifter.errors import MemSifterError
from memsifter.io.files import read_json, write_json
from memsifter.models.check import quiet_transformers, refuse_lfs_pointer, shorten

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
CARD_FILE = "README.md"


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


def save_adapter(adapted: "PeftModel", out: Path) -> None:
    """Write an adapter as peft reads it, the same bytes on every machine: without paths, names in order."""
    adapted.save_pretrained(str(out), safe_serialization=True)
    config = read_json(out / CONFIG_FILE)
    modules = sorted(config["target_modules"])  # peft keeps them in a set
    write_json(out / CONFIG_FILE, {**config, "target_modules": modules, "base_model_name_or_path": None})
    (out / CARD_FILE).unlink(missing_ok=True)  # peft's empty form


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the model that an adapter makes of another one, in float32: narrower formats would round small changes off.

    Args:
        base: Hugging Face directory of the model that the adapter was trained on.
        adapter: directory with `adapter_config.json` and `adapter_model.safetensors`.
        out: existing directory for the weights, config and tokenizer.

    Raises:
        MemSifterError: the adapter is not whole, or does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open
    from transformers import AutoTokenizer

    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (adapter / name).is_file():
            raise MemSifterError(f"{adapter}: {name} is missing; an adapter is both, as peft saves them")
        refuse_lfs_pointer(adapter / name)
    model = load_causal_lm(base, "float32")
    try:
        with safe_open(adapter / WEIGHTS_FILE, framework="pt") as stored:
            names = set(stored.keys())
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft only warns of tensors that are missing; they are compared below
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False, local_files_only=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise MemSifterError(f"{adapter}: does not fit the model {base} ({shorten(error)})") from error
    if unlike := sorted(names ^ set(get_peft_model_state_dict(adapted))):
        raise MemSifterError(f"{adapter}: does not fit the model {base}: only one of them has {unlike[0]}")
    adapted.merge_and_unload().save_pretrained(out, safe_serialization=True)
    AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False).save_pretrained(out)
