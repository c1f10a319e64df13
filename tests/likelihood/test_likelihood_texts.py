from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scored_datasets import RETRIEVAL, make_question, make_session
from tiny_tokenizer import byte_tokenizer

from memsifter.corpus.sessions import Haystack
from memsifter.corpus.store import Dataset, load_dataset, write_dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import combine_scores
from memsifter.likelihood.model import ScoredText
from memsifter.likelihood.prompt import LikelihoodPrompt, load_likelihood_prompt
from memsifter.likelihood.texts import build_texts, opening_tokens, require_room, tokenize_texts
from memsifter.llm.prompts import prompt_path
from memsifter.metrics.retrieval import order_by_score
from memsifter.params import LikelihoodParams
from memsifter.retrieval.catalogue import method_scores
from memsifter.retrieval.score_lists import ScoreLists

TOKENIZER = byte_tokenizer(merges=40)
PROMPT = load_likelihood_prompt(prompt_path("likelihood"))
PARAMS = RETRIEVAL.model_copy(update={"likelihood": LikelihoodParams(sessions=2, excerpt_tokens=24)})


def decode(tokens: tuple[int, ...]) -> str:
    return str(TOKENIZER.decode(list(tokens)))


@given(st.text(), st.text().filter(str.strip), st.text())
def test_the_question_has_the_same_tokens_after_every_session(date: str, question: str, text: str) -> None:
    sessions = [(date, text), ("", "user: hello"), ("8 May, 2023", "")]
    asked = make_question("q", "h", question)
    read = tokenize_texts(asked, sessions, PROMPT, TOKENIZER, (9,))
    (ends,) = {text.tokens[-text.scored :] for text in read}
    for item, (shown_date, shown) in zip(read, sessions, strict=True):
        (alone,) = tokenize_texts(asked, [(shown_date, shown)], PROMPT, TOKENIZER, (9,))
        assert alone == item, "other sessions change nothing"
        assert item.tokens[0] == 9
        assert item.tokens[-item.scored :] == ends
        before = item.tokens[1 : -item.scored]
        (whole,) = TOKENIZER([decode(before)], add_special_tokens=False).input_ids
        assert tuple(whole) == before, "what stands before the question is tokenized as if it stood alone"


def test_a_text_reads_as_the_prompt_file_says() -> None:
    asked = make_question("q", "h", "Who sings?")
    (text,) = tokenize_texts(asked, [("8 May, 2023", "user: I sing <|im_end|>")], PROMPT, TOKENIZER)
    assert decode(text.tokens) == (
        "Conversation on 8 May, 2023:\nuser: I sing < |im_end|>\n\nA question about this conversation: Who sings?"
    )
    assert decode(text.tokens[-text.scored :]) == " Who sings?"
    (undated,) = tokenize_texts(asked, [("", "user: hi")], PROMPT, TOKENIZER)
    assert decode(undated.tokens).startswith("Conversation on date unknown:\n")


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(MemSifterError, match=r"question 'q' is blank"):
        tokenize_texts(make_question("q", "h", " \n"), [("", "text")], PROMPT, TOKENIZER)
    bare = LikelihoodPrompt(context="{text}", question="{question}")
    with pytest.raises(MemSifterError, match="nothing stands before it; put a word into context"):
        tokenize_texts(make_question("q", "h", "Who?"), [("", "")], bare, TOKENIZER)


def test_special_tokens_before_a_text_are_kept_and_those_after_it_are_not() -> None:
    from tokenizers.processors import TemplateProcessing  # type: ignore[import-untyped]

    assert opening_tokens(TOKENIZER) == ()
    marking = byte_tokenizer(control=("<s>", "</s>"))
    special = [(token, marking.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    marking.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    assert opening_tokens(marking) == (special[0][1],)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two questions to four sessions, one of them long."""
    filler = [f"we talk of the weather again and again, part {number}" for number in range(30)]
    sessions = (
        make_session("a", "1 May, 2023", "I like apples", "Yes"),
        make_session("b", "2 May, 2023", *filler[:15], "My sister sings in a choir", *filler[15:]),
        make_session("c", "3 May, 2023", "A river is wide", "Yes"),
        make_session("d", "", "Letters are long", "Yes"),
    )
    questions = [make_question("q0", "h", "Who sings in a choir?"), make_question("q1", "h", "Who likes apples?")]
    directory = tmp_path_factory.mktemp("data") / "toy"
    write_dataset([Haystack("h", sessions), *questions], directory)
    return load_dataset(directory)


def scores_of(dataset: Dataset, seed: int = 0) -> ScoreLists:
    """Random scores, questions in another order than in the dataset."""
    rng = np.random.default_rng(seed)
    names = tuple(question.question_id for question in reversed(dataset.questions))
    columns: dict[str, NDArray[np.float32]] = {
        name: rng.normal(size=8).astype(np.float32) for name in method_scores(PARAMS)
    }
    return ScoreLists(names, np.asarray([0, 4, 8]), columns)


def test_the_best_sessions_of_the_hand_weighted_order_are_read(dataset: Dataset) -> None:
    scores = scores_of(dataset)
    built = list(build_texts(dataset, scores, PROMPT, TOKENIZER, PARAMS))
    assert [item.question.question_id for item in built] == ["q0", "q1"]
    order = combine_scores(scores, PARAMS, {})["hand_weighted"]
    assert list(built[0].positions) == order_by_score(order[4:])[:2]
    assert list(built[1].positions) == order_by_score(order[:4])[:2]
    assert [item.sessions for item in built] == [4, 4]


def test_a_long_session_is_read_as_an_excerpt_for_the_question(dataset: Dataset) -> None:
    params = PARAMS.model_copy(update={"likelihood": LikelihoodParams(sessions=9, excerpt_tokens=60)})
    first, _ = build_texts(dataset, scores_of(dataset), PROMPT, TOKENIZER, params)
    assert sorted(first.positions) == [0, 1, 2, 3], "all, where a haystack has fewer"
    shown = decode(first.texts[first.positions.index(1)].tokens)
    assert "My sister sings in a choir" in shown
    assert "part 3" not in shown


def test_a_question_without_scores_is_refused(dataset: Dataset) -> None:
    scores = scores_of(dataset).select(np.asarray([1]))
    with pytest.raises(MemSifterError, match=r"question 'q1': its coarse scores are missing; repeat score"):
        list(build_texts(dataset, scores, PROMPT, TOKENIZER, PARAMS))


def test_texts_longer_than_the_model_reads_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    built = list(build_texts(dataset, scores_of(dataset), PROMPT, TOKENIZER, PARAMS))
    longest = max(len(text.tokens) for item in built for text in item.texts)
    require_room(built, tmp_path, longest)
    require_room(built, tmp_path, None)
    with pytest.raises(MemSifterError, match=rf"reads at most {longest - 1}; lower retrieval\.likelihood\.excerpt_tok"):
        require_room(built, tmp_path, longest - 1)
    assert isinstance(built[0].texts[0], ScoredText)
