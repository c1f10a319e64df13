import logging
import threading
import time
from pathlib import Path

import pytest

from memsifter.training.round import training_lock


def test_a_second_training_says_that_it_waits_and_begins_when_the_first_has_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lock_file = tmp_path / "training.lock"
    order: list[str] = []

    def second() -> None:
        with training_lock(lock_file):
            order.append("second")

    with training_lock(lock_file):
        thread = threading.Thread(target=second)
        thread.start()
        while f"waiting for another training on this machine to end ({lock_file})" not in caplog.text:
            time.sleep(0.01)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_training_that_failed_leaves_the_way_free(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), training_lock(tmp_path / "training.lock"):
        raise RuntimeError
    with training_lock(tmp_path / "training.lock"):
        pass
