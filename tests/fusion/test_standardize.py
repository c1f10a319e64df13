import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsifter.fusion.combine import standardize

# Multiples of 1/8: a spread is either none or far above rounding errors.
values = st.integers(-80, 80).map(lambda value: value / 8)
lists = st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(rows=lists)
def test_each_list_has_mean_zero_and_deviation_one_or_is_zero(rows: list[list[float]]) -> None:
    offsets = np.cumsum([0, *map(len, rows)])
    found = np.split(standardize(np.concatenate(rows), offsets), offsets[1:-1])
    for before, after in zip(rows, found, strict=True):
        if len(set(before)) == 1:
            assert not after.any()
        else:
            assert after.mean() == pytest.approx(0, abs=1e-9)
            assert after.std() == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(rows=lists, scale=st.floats(0.1, 100), shift=st.integers(-400, 400))
def test_scale_and_shift_do_not_matter(rows: list[list[float]], scale: float, shift: int) -> None:
    offsets, flat = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    np.testing.assert_allclose(standardize(flat * scale + shift / 8, offsets), standardize(flat, offsets), atol=1e-6)
