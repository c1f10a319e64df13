"""One local training at a time: verl's trainer and rollout meet at sockets whose names another training has as well."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

# Not the folder for temporary files that the environment names: verl's sockets are in this one, whatever it says.
_LOCK = Path("/tmp/memsifter-training.lock")  # noqa: S108


@contextmanager
def training_turn(lock_file: Path = _LOCK) -> Iterator[None]:
    """Wait until no other training runs on this machine, and keep others out.

    The names of verl's sockets hold the number of the Ray job, and the first job of every local Ray has the same one.
    """
    lock = FileLock(lock_file, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another training on this machine to end (%s)", lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
