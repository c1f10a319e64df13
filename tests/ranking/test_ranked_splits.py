"""Which questions the stage `rank` gives to a ranker."""

from memsifter.params import load_params
from stages.rank import splits_to_rank


def test_only_rankers_of_a_round_rank_the_train_questions() -> None:
    rank = load_params().rank
    assert splits_to_rank(rank, "base") == ("test", "train")
    assert splits_to_rank(rank, "other") == ("test",)
    assert splits_to_rank(rank, "coarse") == ("test",)
