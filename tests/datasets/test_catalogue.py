from pathlib import Path
from typing import Any

import pytest
import yaml

from memsifter.corpus.store import write_dataset
from memsifter.datasets import read
from memsifter.datasets.registry import CATALOGUE, READERS
from memsifter.datasets.table import DOCUMENT, with_table
from memsifter.io.paths import ROOT
from memsifter.params import FileDatasetParams, parse_params

LAYOUTS = Path(__file__).parent / "layouts"
PAPER = (
    "locomo",
    "split_longmemeval_s",
    "split_longmemeval_m",
    "personamem_128k",
    "personamem_1M",
    "personamem_v2_32k",
    "personamem_v2_128k",
    "zh4o",
    "HotpotQA",
    "WebWalkerQA-Silver",
    "WebDancer",
)
# What a reader of the benchmark is tried on where the real file is not at hand.
FILES = {
    "longmemeval": "longmemeval_s_cleaned.json",
    "personamem": "personamem",
    "perltqa": None,  # by language
    "flat": "flat",
    "hotpotqa": "hotpot_dev_distractor_v1.json",
    "trajectory": "webdancer.jsonl",
}


def entry_of(name: str) -> dict[str, Any]:
    values = yaml.safe_load((ROOT / "configs" / "dataset" / f"{name}.yaml").read_text())["datasets"]
    assert list(values) == [name]
    return dict(values[name])


def params_of(name: str, **changes: Any) -> FileDatasetParams:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["datasets"] = {name: entry_of(name) | changes}
    values["matrix"]["datasets"] = values["retrieval"]["fit"]["datasets"] = [name]
    values["retrieval"]["likelihood"]["datasets"] = [name]
    values["rounds"] = {}
    values["matrix"]["rankers"] = ["base"]
    params = parse_params(values, "params.yaml").datasets[name]
    assert isinstance(params, FileDatasetParams)
    return params


def test_the_catalogue_has_the_papers_eleven() -> None:
    assert set(PAPER) <= set(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_naming_a_benchmark_gives_its_kind_and_a_source_that_can_be_downloaded(name: str) -> None:
    params, listed = params_of(name), CATALOGUE[name]
    assert params.kind == listed.benchmark.kind
    assert (params.path, params.url) == (None, None)
    assert listed.sources[params.reader]
    assert all(file.url.startswith(("https://", "http://")) for file in listed.sources[params.reader])
    assert set(listed.sources) <= set(READERS)
    assert next(iter(listed.sources)) == params.reader
    assert type(params).__module__ == params.watch.removesuffix(".py").replace("/", ".")


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "locomo"])
def test_each_benchmark_is_read_from_its_layout(name: str, tmp_path: Path) -> None:
    reader = entry_of(name)["reader"]
    path = str(LAYOUTS / (FILES[reader] or name))
    params = params_of(name, path=path, watch=path)
    report = write_dataset(read(params, name), tmp_path / "d")
    assert report["questions"] >= 2
    assert report["questions_refused"] == 0
    assert report["questions_without_gold"] < report["questions"]
    splits = report["questions_by_split"]
    assert splits == {"test": 3, "train": 7} if name.startswith("split_") else sum(splits.values())


def test_the_table_of_benchmarks_is_written_from_the_registry() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in CATALOGUE)
    assert text == with_table(text), "run python -m memsifter.datasets.table"
