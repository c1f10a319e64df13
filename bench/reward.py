"""Requests to the working LLM for one group of rollouts: python -m bench.reward.

Six rollouts rank the same ten sessions (K = 10: six tiers, and none). Side by side, on a server that takes 50 ms a
request: every rollout sends its own, as without shared answers, and the group shares its answers.
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from memsifter.io.paths import ROOT
from memsifter.reward.compute_score import compute_score
from memsifter.reward.tiers import tiers

sys.path.insert(0, str(ROOT / "tests"))
from reward_samples import extra_info, rollout, settings
from scripted_server import Act, Call, ScriptedServer, Stall

ROLLOUTS, SESSIONS, K = 6, 10, 10
_SECONDS_PER_REQUEST = 0.05


def main() -> None:
    """Print requests and seconds for random, similar and identical siblings, in both orders of a context."""
    table = Table(title=f"{ROLLOUTS} rollouts, {SESSIONS} sessions, K = {K}")
    for heading in ("siblings", "context order", "each for itself", "shared", "bound", "fewer requests", "faster"):
        table.add_column(heading, justify="left" if heading in ("siblings", "context order") else "right")
    for kind, rankings in make_groups(random.Random(7)).items():
        for order in ("ranked", "chronological"):
            alone, alone_s = measure(rankings, order, shared=False)
            together, together_s = measure(rankings, order, shared=True)
            bound = 1 + count_prefixes(rankings, order)
            if together > bound:
                sys.exit(f"{kind}, {order}: {together} requests, more than the bound of {bound}")
            requests = (str(alone), str(together), str(bound), f"{alone / together:.1f}x")
            table.add_row(kind, order, *requests, f"{alone_s / together_s:.1f}x")
    Console().print(table)
    print("bound: 1 + the distinct prefixes at the tiers (as sequences, or as sets in chronological order)")


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
        asyncio.run(score_all())
        return len(server.calls), time.perf_counter() - start


def _think(_: Call) -> Act:
    return Stall(_SECONDS_PER_REQUEST)


if __name__ == "__main__":
    main()
