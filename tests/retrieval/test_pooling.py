import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.retrieval.score_lists import max_per_group, mean_of_best, select_groups

groups = st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=6), min_size=1, max_size=6)


def test_the_rows_of_chosen_groups_stand_side_by_side() -> None:
    rows, starts = select_groups(np.asarray([0, 2, 3, 7]), np.asarray([2, 0, 2]))
    assert rows.tolist() == [3, 4, 5, 6, 0, 1, 3, 4, 5, 6]
    assert starts.tolist() == [0, 4, 6]


@settings(max_examples=200, deadline=None)
@given(groups=groups, count=st.integers(1, 4))
def test_the_best_of_each_group(groups: list[list[int]], count: int) -> None:
    row = np.asarray([value for group in groups for value in group], dtype=np.float32)
    scores = np.stack([row, -row])
    starts = np.cumsum([0, *map(len, groups[:-1])])
    found = zip((1, -1), max_per_group(scores, starts), mean_of_best(scores, starts, count), strict=True)
    for sign, best, mean in found:
        ordered = [sorted((sign * value for value in group), reverse=True) for group in groups]
        assert best.tolist() == [values[0] for values in ordered]
        np.testing.assert_allclose(mean, [np.mean(values[:count]) for values in ordered], rtol=1e-5, atol=1e-6)
