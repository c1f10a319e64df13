"""A bounded queue: so many searches at once, so many that wait, and everyone else is told when to come back."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from memsifter.errors import MemSifterError
from memsifter.serving.settings import Limits
from memsifter.sifter.encoder import DEADLINE

Result = TypeVar("Result")
_SMOOTHING = 0.2
_LONGEST_RETRY_S = 60
_GRACE_S = 1.0  # a search that ends in time says itself how far it came


class BusyError(MemSifterError):
    """There is no free place.

    Attributes:
        retry_after_s: in how many seconds there may be one.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests at once; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Gate:
    """Counts the requests in work, and refuses those beyond the limit. For one event loop."""

    def __init__(self, limit: int, at_once: int) -> None:
        """An open gate.

        Args:
            limit: the most requests in work, those that wait among them.
            at_once: how many of them make progress at the same time.
        """
        self.in_work = 0
        self._limit, self._at_once = limit, at_once
        self._usual_s = 0.5

    def enter(self) -> bool:
        """Count one more, or say that there is no place."""
        if self.in_work >= self._limit:
            return False
        self.in_work += 1
        return True

    def leave(self, seconds: float | None = None) -> None:
        """One is done; it took so long to be answered."""
        self.in_work -= 1
        if seconds is not None:
            self._usual_s += _SMOOTHING * (seconds - self._usual_s)

    @property
    def retry_after_s(self) -> int:
        """In how many seconds, at the pace of late, a place is likely to be free."""
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self._usual_s / self._at_once)))


class WorkPool:
    """Threads that search."""

    def __init__(self, limits: Limits) -> None:
        self.gate = Gate(limits.threads + limits.waiting, limits.threads)
        self._seconds = limits.seconds
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="memsifter-search")
        self._stopped = threading.Event()

    async def run(self, work: Callable[[], Result]) -> Result:
        """What a function gives, computed in one of the threads.

        A search cannot be interrupted: one that nobody waits for any more gives up before its next block of texts, and
        keeps its place until then.

        Raises:
            BusyError: no thread was free in time; nothing was computed.
            TimeoutError: the search took too long.
            OutOfTimeError: embedding its texts took too long.
        """
        loop, started = asyncio.get_running_loop(), asyncio.Event()

        def work_in_time() -> Result:
            loop.call_soon_threadsafe(started.set)
            DEADLINE.set(time.monotonic() + self._seconds)
            return work()

        future = self._threads.submit(copy_context().run, work_in_time)
        try:
            await self._wait_for_thread(started, future)
            async with asyncio.timeout(self._seconds + _GRACE_S):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise TimeoutError(f"the search took more than {self._seconds:g} s; send less, or ask again") from error
        finally:
            if not future.cancel() and not future.done():
                self._keep_place(future)

    async def _wait_for_thread(self, started: asyncio.Event, future: "Future[Result]") -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await started.wait()
        except TimeoutError as error:
            if future.cancel():
                raise BusyError(self.gate.retry_after_s) from error

    def _keep_place(self, future: "Future[Result]") -> None:
        loop = asyncio.get_running_loop()
        self.gate.in_work += 1

        def leave(_: "Future[Result]") -> None:
            if not self._stopped.is_set():
                loop.call_soon_threadsafe(self.gate.leave)

        future.add_done_callback(leave)

    def stop(self) -> None:
        """Give up what waits. What runs goes on to its end."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
