from pathlib import Path

import rl_samples as samples

from memsifter.params import RoundParams, load_params
from memsifter.rl_data.recipe import DatasetRows
from memsifter.rl_data.statistics import describe_round, render_histogram, render_page


def prepared(tmp_path: Path) -> DatasetRows:
    unanswered = [samples.question(number, answer="") for number in range(20, 23)]
    dataset = samples.write_sample(
        [*samples.questions(), *unanswered, samples.question(30, gold=())], tmp_path / "data"
    )
    return samples.prepare(dataset, train=5, test=3)


def training_round() -> RoundParams:
    return load_params().rounds["round1"].model_copy(update={"start_from": "base", "anchor": 0.2})


def test_the_page_explains_what_was_dropped(tmp_path: Path) -> None:
    figures = describe_round([prepared(tmp_path)], training_round(), {"train_0.parquet": 5, "test.parquet": 3}, "v1")
    page = render_page(figures, "round1")
    (row,) = [line for line in page.splitlines() if line.startswith("| tiny      | train")]
    assert [cell.strip() for cell in row.split("|")[3:-1]] == ["16", "5", "3", "4", "3 no_answer, 1 no_gold"]
    assert "- `no_answer`: it has no reference answer" in page
    assert "- `no_gold`: no session is known to hold its evidence" in page
    assert "abstention" not in page
    assert "5 train rows, 3 test rows, version `v1`" in page


def test_token_lengths_are_those_of_the_prompts(tmp_path: Path) -> None:
    item = prepared(tmp_path)
    figures = describe_round([item], training_round(), {}, "v1")
    lengths = [
        len(samples.TOKENIZER.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True).encode())
        for row in (*item.train, *item.test)
    ]
    assert figures["datasets"]["tiny"]["prompt_tokens"] == {
        "min": min(lengths),
        "mean": sum(lengths) / 8,
        "max": max(lengths),
    }


def test_every_question_is_in_one_bin(tmp_path: Path) -> None:
    item = prepared(tmp_path)
    figures = describe_round([item], training_round(), {}, "v1")
    lines = render_histogram(figures).splitlines()
    assert lines[0] == "dataset,ndcg,count"
    counts = {line.split(",")[1]: int(line.split(",")[2]) for line in lines[1:]}
    assert list(counts) == [f"0.{n}-0.{n + 1}" for n in range(9)] + ["0.9-1.0"]
    for number, count in enumerate(counts.values()):
        upper = (number + 1) / 10 if number < 9 else 1.1
        assert count == sum(number / 10 <= value < upper for value in item.ndcg)
