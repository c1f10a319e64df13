"""What the steps of the GPU benchmark run on: sizes, devices, and random models, so that no network is needed."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from memsifter.io.files import atomic_directory
from memsifter.io.paths import ROOT
from memsifter.params import ClusterParams, EngineParams

QWEN3 = ROOT / "tests" / "model_shapes" / "qwen3_0.6b"
LOCAL_RAY = ClusterParams()  # with all that the machine has
GIB = 1 << 30


@dataclass(frozen=True)
class Setup:
    """What the steps run on: `cuda` or `cpu`, sizes, the shape of the models, and a folder for what they write.

    Attributes:
        device: `cuda` or `cpu`.
        prompts: how many prompts are generated from, and texts are read or embedded.
        prompt_tokens: of each, and of the sequences that are trained on.
        shape: a folder with the config.json of a causal LM; its weights are random.
        embedder: a Hugging Face directory; None: a random BERT of bge-small's shape.
        folder: for models, data and checkpoints.
    """

    device: str
    prompts: int
    prompt_tokens: int
    shape: Path
    embedder: Path | None
    folder: Path

    @property
    def dtype(self) -> str:
        """bfloat16 on a GPU."""
        return "bfloat16" if self.device == "cuda" else "float32"

    def engine(self, longest: int) -> EngineParams:
        """VLLM's settings for sequences of at most `longest` tokens."""
        return EngineParams.model_validate(
            {
                "device": self.device,
                "dtype": self.dtype,
                "max_model_len": longest,
                "max_num_batched_tokens": max(longest, 8192 if self.device == "cuda" else 0),
                "gpu_memory_utilization": 0.6,
                "cpu_kv_cache_gib": 1,
            }
        )

    def write_model(self, max_tokens: int) -> Path:
        """A causal LM of `shape` with random weights, and a tokenizer in which each of its ids has a text."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        from memsifter.models.tiny import write_tiny_model

        out = self.folder / f"model-{max_tokens}"
        if out.exists():
            return out
        with atomic_directory(out) as temporary:
            write_tiny_model(temporary / "tiny", max_tokens=max_tokens)
            tiny = AutoConfig.from_pretrained(temporary / "tiny")
            AutoTokenizer.from_pretrained(temporary / "tiny").save_pretrained(temporary)
            shutil.rmtree(temporary / "tiny")
            config = AutoConfig.from_pretrained(self.shape)
            config.eos_token_id, config.pad_token_id, config.bos_token_id = tiny.eos_token_id, tiny.pad_token_id, None
            fill_vocabulary(temporary / "tokenizer.json", config.vocab_size)
            torch.manual_seed(0)
            with torch.device(self.device):
                model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, self.dtype))
            model.save_pretrained(temporary)
        return out

    def write_embedder(self) -> Path:
        """A BERT of bge-small's shape with random weights, if none is given."""
        if self.embedder is not None:
            return self.embedder
        import torch
        from transformers import BertConfig, BertModel

        from memsifter.models.tiny import write_tiny_model

        out = self.folder / "embedder"
        write_tiny_model(out, max_tokens=512)
        torch.manual_seed(0)
        config = BertConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536)
        BertModel(config).save_pretrained(out)
        return out


def fill_vocabulary(tokenizer: Path, size: int) -> None:
    """Give each id below `size` a text of its own; no text is encoded as one of them."""
    values = json.loads(tokenizer.read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    vocabulary |= {f"<{number}>": number for number in range(len(vocabulary), size)}
    tokenizer.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
