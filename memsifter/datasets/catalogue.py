"""The benchmarks that can be named in `params.yaml`: where they come from, under which licence, and who reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from memsifter.corpus.sessions import SPLITS
from memsifter.params.data import Kind

_LOCOMO = "https://raw.githubusercontent.com/snap-research/locomo/3eb6f2c585f5e1699204e3c3bdf7adc5c28cb376/data"
_LONGMEMEVAL = "https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned/resolve/main"
_PERSONAMEM = "https://huggingface.co/datasets/bowen-upenn/PersonaMem-v1/resolve/main"
_PERLTQA = "https://raw.githubusercontent.com/Elvin-Yiming-Du/PerLTQA/67f8351aa6cedddcfc9985e475cfb5565ffd6fa8/Dataset"
_HOTPOTQA = "http://curtis.ml.cmu.edu/datasets/hotpot"
_WEBDANCER = "https://raw.githubusercontent.com/Alibaba-NLP/WebAgent/d169df3/WebDancer/datasets"
_MEMSIFTER = "https://huggingface.co/datasets/zstanjj/MemSifter-Datasets/resolve/main"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. `sha256` is None where no copy could be hashed yet; the download then logs what it got."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the catalogue.

    Attributes:
        page: where the benchmark is described.
        licence: of the data.
        kind: which prompts fit.
        language: of the conversations.
        sources: the files by the reader of their layout, the default reader first. No files: the source is too
            many of them, or asks for consent, and is fetched by hand from `page`.
    """

    page: str
    licence: str
    kind: Kind
    language: Literal["en", "zh", "en, zh"]
    sources: Mapping[str, tuple[SourceFile, ...]]


def _published(name: str) -> tuple[SourceFile, ...]:
    """The flat files that MemSifter's authors publish."""
    return tuple(SourceFile(f"{_MEMSIFTER}/{name}/{split}.parquet") for split in SPLITS)


def _longmemeval(size: str) -> Benchmark:
    file = SourceFile(f"{_LONGMEMEVAL}/longmemeval_{size}_cleaned.json")
    return Benchmark(
        "https://github.com/xiaowu0162/LongMemEval",
        "MIT",
        "chat",
        "en",
        {"longmemeval": (file,), "flat": _published(f"split_longmemeval_{size}")},
    )


def _personamem(size: str) -> Benchmark:
    names = (f"questions_{size}.csv", f"shared_contexts_{size}.jsonl")
    files = tuple(SourceFile(f"{_PERSONAMEM}/{name}") for name in names)
    return Benchmark(
        "https://github.com/bowen-upenn/PersonaMem",
        "MIT",
        "chat",
        "en",
        {"personamem": files, "flat": _published(f"personamem_{size}")},
    )


def _personamem_v2(size: str) -> Benchmark:
    return Benchmark(
        "https://huggingface.co/datasets/bowen-upenn/PersonaMem-v2",
        "CC BY 4.0",
        "chat",
        "en",
        {"flat": _published(f"personamem_v2_{size}"), "personamem_v2": ()},
    )


def _perltqa(language: Literal["en", "zh"], questions: str, memories: str) -> Benchmark:
    files = (SourceFile(f"{_PERLTQA}/{questions}"), SourceFile(f"{_PERLTQA}/{memories}"))
    return Benchmark(
        "https://github.com/Elvin-Yiming-Du/PerLTQA",
        "CC BY-NC 4.0",
        "chat",
        language,
        {"perltqa": files, "flat": _published(f"perltqa_{language}")},
    )


CATALOGUE: Mapping[str, Benchmark] = {
    "locomo": Benchmark(
        "https://github.com/snap-research/locomo",
        "CC BY-NC 4.0",
        "chat",
        "en",
        {
            "locomo": (
                SourceFile(
                    f"{_LOCOMO}/locomo10.json", "79fa87e90f04081343b8c8debecb80a9a6842b76a7aa537dc9fdf651ea698ff4"
                ),
            ),
            "flat": _published("locomo"),
        },
    ),
    "split_longmemeval_s": _longmemeval("s"),
    "split_longmemeval_m": _longmemeval("m"),
    "personamem_32k": _personamem("32k"),
    "personamem_128k": _personamem("128k"),
    "personamem_1M": _personamem("1M"),
    "personamem_v2_32k": _personamem_v2("32k"),
    "personamem_v2_128k": _personamem_v2("128k"),
    "perltqa_en": _perltqa("en", "en_v2/perltqa_en_v2.json", "en_v2/perltmem_en_v2.json"),
    "perltqa_zh": _perltqa("zh", "zh/perltqa.json", "zh/perltmem.json"),
    # The raw dialogues lie at https://github.com/cows21/MOOM-Roleplay-Dialogue, in a layout that is not documented.
    "zh4o": Benchmark("https://arxiv.org/abs/2509.11860", "not stated", "chat", "zh", {"flat": _published("zh4o")}),
    "HotpotQA": Benchmark(
        "https://hotpotqa.github.io",
        "CC BY-SA 4.0",
        "deep_research",
        "en",
        {
            "hotpotqa": (SourceFile(f"{_HOTPOTQA}/hotpot_dev_distractor_v1.json"),),
            "flat": _published("HotpotQA"),
        },
    ),
    # The questions alone are at https://huggingface.co/datasets/callanwu/WebWalkerQA; what was browsed is not there.
    "WebWalkerQA-Silver": Benchmark(
        "https://huggingface.co/datasets/miromind-ai/MiroVerse-v0.1",
        "Apache-2.0 (questions)",
        "deep_research",
        "en, zh",
        {"flat": _published("WebWalkerQA-Silver"), "trajectory": ()},
    ),
    "WebDancer": Benchmark(
        "https://github.com/Alibaba-NLP/WebAgent",
        "MIT",
        "deep_research",
        "en",
        {
            "trajectory": (  # the sample of 199 trajectories that is public
                SourceFile(
                    f"{_WEBDANCER}/sample_traj.jsonl",
                    "0e8ac080b52fc1d65f9e3937ef1460610bfb76ea6a1ef8060beb5a938928e447",
                ),
            ),
            "flat": _published("WebDancer"),
        },
    ),
}
