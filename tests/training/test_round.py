import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from memsifter.params import ClusterParams
from memsifter.training.trainer import training_lock

LOCAL = ClusterParams()


def test_a_second_training_says_that_it_waits_and_begins_when_the_first_has_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lock_file = tmp_path / "training.lock"
    order: list[str] = []

    def second() -> None:
        with training_lock(LOCAL, lock_file):
            order.append("second")

    with training_lock(LOCAL, lock_file):
        thread = threading.Thread(target=second)
        thread.start()
        while f"waiting for another training on this machine to end ({lock_file})" not in caplog.text:
            time.sleep(0.01)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_training_that_failed_leaves_the_way_free(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), training_lock(LOCAL, tmp_path / "training.lock"):
        raise RuntimeError
    with training_lock(LOCAL, tmp_path / "training.lock"):
        pass


def test_a_round_that_has_the_lock_may_train(tmp_path: Path) -> None:
    lock_file = tmp_path / "training.lock"
    with training_lock(LOCAL, lock_file):
        with training_lock(LOCAL, lock_file):
            pass
        with pytest.raises(Timeout), FileLock(lock_file, timeout=0):
            pass


@pytest.mark.parametrize("cluster", [{"address": "10.0.0.1:6379"}, {"job_server": "http://10.0.0.1:8265"}])
def test_trainings_on_a_cluster_do_not_wait(cluster: dict[str, Any], tmp_path: Path) -> None:
    with FileLock(tmp_path / "training.lock"), training_lock(ClusterParams(**cluster), tmp_path / "training.lock"):
        pass


def test_the_rays_own_word_for_local_is_no_cluster(tmp_path: Path) -> None:
    lock_file = tmp_path / "training.lock"
    held = training_lock(ClusterParams(address="local"), lock_file)
    with held, pytest.raises(Timeout), FileLock(lock_file, timeout=0):
        pass
