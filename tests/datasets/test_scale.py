from pathlib import Path

import pytest

from bench.datasets import measure_json_load, measure_read, write_longmemeval_file

MEGABYTES = 330  # the imports alone take 120


@pytest.mark.slow
def test_memory_stays_flat_in_the_number_of_questions(tmp_path: Path) -> None:
    path = tmp_path / "longmemeval.json"
    peaks = []
    for questions in (10, 40):
        size = write_longmemeval_file(path, questions, 500, pool=2_000)
        rows, unique, peak = measure_read(path, tmp_path / "d")
        assert rows == questions
        assert unique <= 2_000  # each distinct session once, not once per haystack
        assert (tmp_path / "d" / "sessions.parquet").stat().st_size < 2_000 * size / (questions * 500)
        peaks.append(peak)
    assert peaks[1] < MEGABYTES
    assert peaks[1] - peaks[0] < 60  # of a file that is 160 MB longer
    assert measure_json_load(path)[2] > MEGABYTES  # a reader that holds the file would not pass
