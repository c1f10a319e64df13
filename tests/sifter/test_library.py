"""The library without the pipeline: docs/use.md needs the packages of requirements/library.txt and no others."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from scripted_server import Say, ScriptedServer

from memsifter.io.paths import ROOT
from memsifter.models import prepare_model
from memsifter.params import ModelParams

pytestmark = pytest.mark.slow
LOCKS = ROOT / "requirements"

# The packages that the library's lock does not have cannot be imported, as if they were not installed.
ALONE = """
import sys
from importlib.machinery import PathFinder

class Library(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Library
"""
USE = """
from dataclasses import replace
from pathlib import Path

from memsifter import Memory, Sifter, SifterSettings
import memsifter.serving.mcp_tool, memsifter.serving.server
from memsifter.serving.app import create_app
from memsifter.serving.settings import ServerSettings

embedder, reader, url, folder = sys.argv[1:]
sessions = [
    {"id": "cat", "date": "2024-05-20", "turns": [{"role": "user", "content": "my cat momo"}]},
    {"id": "bike", "date": "2024-05-21", "turns": [{"role": "user", "content": "my bike"}]},
]
question = "what is my cat?"
with Sifter.from_pretrained(embedder=embedder, device="cpu") as sifter:
    print("found", sifter.sift(question, sessions, top_k=1)[0].id)
    print("answer", sifter.answer(question, sessions, base_url=url, model="any").text)
    with Memory(Path(folder) / "memory.sqlite", sifter) as memory:
        memory.add_many("ann", sessions)
        print("remembered", memory.search("ann", question, top_k=1)[0].id)
        print("served", len(create_app(ServerSettings(), sifter, memory).routes) > 3)
settings = SifterSettings()
settings = replace(settings, retrieval=settings.retrieval.model_copy(update={"fusion": "fitted_likelihood"}))
with Sifter.from_pretrained(embedder=embedder, device="cpu", settings=settings, reader=reader) as sifter:
    print("read", len(sifter.sift(question, sessions)))
"""


@pytest.fixture(scope="module")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "llm"
    prepare_model(ModelParams(ref="tiny:7", sha256=None), directory)
    return directory


def test_its_lock_is_a_part_of_the_pipelines() -> None:
    library, pipeline = ((LOCKS / name).read_text().splitlines() for name in ("library.txt", "cpu.txt"))
    assert set(library) < set(pipeline)


def run_alone(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    lock = (LOCKS / "library.txt").read_text().splitlines()
    installed = {"memsifter", *(_canonical(line.partition("==")[0]) for line in lock)}
    owners = packages_distributions().items()
    absent = {module for module, names in owners if installed.isdisjoint(map(_canonical, names))}
    assert {"ray", "vllm", "mlflow", "dvc", "verl", "hydra"} <= absent
    command = [sys.executable, "-c", f"ABSENT = {sorted(absent)}\n{ALONE}\n{code}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def test_it_searches_answers_remembers_serves_and_reads(tiny_embedder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    with ScriptedServer([Say("Momo")]) as server:
        done = run_alone(USE, str(tiny_embedder), str(tiny_llm), server.base_url, str(tmp_path))
    assert done.stdout.splitlines() == ["found cat", "answer Momo", "remembered cat", "served True", "read 2"], (
        done.stderr
    )


@pytest.mark.parametrize("command", [["compose", "--check"], ["report"], ["track", "sync"]])
def test_commands_of_the_pipeline_say_what_they_lack(command: list[str]) -> None:
    done = run_alone(f"from memsifter.cli import main; main({command})")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "is not installed; `make setup DEVICE=cpu`" in done.stderr


def test_a_ranker_says_that_it_needs_vllm(tiny_embedder: Path, tiny_llm: Path) -> None:
    code = f"from memsifter import Sifter; Sifter.from_pretrained({str(tiny_llm)!r}, embedder={str(tiny_embedder)!r})"
    done = run_alone(code)
    assert "MemSifterError: a ranker runs in vLLM; `make setup DEVICE=cpu`" in done.stderr
