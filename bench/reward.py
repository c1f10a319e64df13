"""Requests to the working LLM for one group of rollouts: python -m bench.reward.

Six rollouts rank the same ten sessions (K = 10: six tiers, and none) on a server that takes 300 ms a request. The
reference scores one rollout after the other, each in an event loop of its own and with requests of its own; ours scores
the group at once and shares its answers.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.side_by_side.rows import Result, Row, Scale, add_rows_option, finish
from memsifter.io.paths import ROOT
from memsifter.reward.compute_score import compute_score
from memsifter.reward.tiers import tiers

sys.path.insert(0, str(ROOT / "tests"))
from reward_samples import extra_info, rollout, settings
from scripted_server import Act, Call, ScriptedServer, Stall

ROLLOUTS, SESSIONS, K = 6, 10, 10
_SECONDS_PER_REQUEST = 0.3


def main() -> None:
    """Score random, similar and identical siblings, in both orders of a context."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_rows_option(parser)
    options = parser.parse_args()
    finish(_measure(), options.rows)


def _measure() -> Result:
    measure(make_groups(random.Random(7))["similar"], "ranked", shared=True)  # the first call sets things up
    rows: list[Row] = []
    scaling: list[Scale] = []
    for kind, rankings in make_groups(random.Random(7)).items():
        for order in ("ranked", "chronological"):
            runs = [(measure(rankings, order, shared=False), measure(rankings, order, shared=True)) for _ in range(3)]
            alone, together = runs[0][0][0], max(run[1][0] for run in runs)
            bound = 1 + count_prefixes(rankings, order)
            if together > bound:
                sys.exit(f"{kind}, {order}: {together} requests, more than the bound of {bound}")
            work = f"a group of {ROLLOUTS} {kind} rollouts, sessions {order}"
            scaling.append(Scale("reward: calls, of 42", work, together, "calls"))
            # A group looks like this once it has learned something, and `reward.context_order` is so by default.
            if (kind, order) == ("similar", "chronological"):
                alone_s, together_s = (median(run[way][1] for run in runs) for way in range(2))
                rows = _rows(f"reward, {work}", (alone, together, bound), alone_s, together_s)
    return Result(rows, scaling)


def _rows(work: str, calls: tuple[int, int, int], alone_s: float, together_s: float) -> list[Row]:
    return [
        Row(
            f"{work}: calls",
            "seven calls for each rollout",
            *calls[:2],
            "calls",
            3,
            calls[2],
            "one without sessions, and one for each distinct context",
        ),
        Row(
            work,
            "one event loop for each score",
            alone_s,
            together_s,
            "s",
            3,
            _SECONDS_PER_REQUEST,
            "one call: all can be sent at once",
            "On the clock. What is above the floor is the processor's: clients, the cache of answers, scores.",
        ),
    ]


def make_groups(rng: random.Random) -> dict[str, list[list[int]]]:
    """Rankings of the siblings: shuffled, one neighbouring pair swapped in each, and all the same."""
    similar = [list(range(SESSIONS)) for _ in range(ROLLOUTS)]
    for ranking in similar:
        place = rng.randrange(SESSIONS - 1)
        ranking[place : place + 2] = reversed(ranking[place : place + 2])
    return {
        "random": [rng.sample(range(SESSIONS), SESSIONS) for _ in range(ROLLOUTS)],
        "similar": similar,
        "identical": [list(range(SESSIONS))] * ROLLOUTS,
    }


def count_prefixes(rankings: list[list[int]], order: str) -> int:
    """Distinct contexts of the tiers."""
    prefixes = [ranking[:tier] for ranking in rankings for tier in tiers(K)]
    return len({tuple(prefix if order == "ranked" else sorted(prefix)) for prefix in prefixes})


def measure(rankings: list[list[int]], order: str, shared: bool) -> tuple[int, float]:
    """Requests that reached the server, and seconds, for a group that starts with an empty cache."""
    with tempfile.TemporaryDirectory() as folder, ScriptedServer(then=_think) as server:

        async def score(number: int, ranking: list[int]) -> None:
            cache = Path(folder) / ("group" if shared else str(number))
            config = settings(server.base_url, cache, order="ranked" if order == "ranked" else "chronological")
            row = extra_info(SESSIONS)
            text = config.model_dump_json()
            await compute_score(row["dataset"], rollout(ranking), row["answer"], row, settings=text)

        async def score_all() -> None:
            await asyncio.gather(*(score(number, ranking) for number, ranking in enumerate(rankings)))

        start = time.perf_counter()
        if shared:
            asyncio.run(score_all())
        else:
            for number, ranking in enumerate(rankings):
                asyncio.run(score(number, ranking))
        return len(server.calls), time.perf_counter() - start


def _think(_: Call) -> Act:
    return Stall(_SECONDS_PER_REQUEST)


if __name__ == "__main__":
    main()
