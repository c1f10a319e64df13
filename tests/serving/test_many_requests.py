from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from running_app import SESSIONS, Client


@pytest.mark.slow
def test_200_at_once_get_an_answer_or_are_told_to_come_back(serve: Callable[..., Client]) -> None:
    server = serve(waiting=30)

    def ask(number: int) -> int:
        client = Client(server.base_url)  # a connection of its own
        with client.session:
            question = {"question": f"What about {number}?", "sessions": SESSIONS}
            reply = client.post("/v1/sift", question)
        if reply.status_code == 429:
            assert int(reply.headers["Retry-After"]) >= 1
        return reply.status_code

    with ThreadPoolExecutor(200) as pool:
        statuses = Counter(pool.map(ask, range(400)))
    assert set(statuses) <= {200, 429}
    assert statuses[200] >= 32
    metrics = server.get("/metrics").text
    assert f'memsifter_requests_total{{path="/v1/sift",status="200"}} {statuses[200]}.0' in metrics
    assert server.post("/v1/sift", {"question": "x", "sessions": SESSIONS}).status_code == 200
