"""One client for all processes of a Ray job."""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_server import Act, Call, Fail, Say, ScriptedServer, Stall

from memsifter.chat.endpoint import ChatRequest, Sampling
from memsifter.chat.reply import RefusedRequestError
from memsifter.chat.shared_client import ClientSettings, answer_shared
from memsifter.errors import MemSifterError

SAMPLING = Sampling(max_tokens=4, temperature=0.0)


def settings_for(server: ScriptedServer, cache: Path, **changes: object) -> ClientSettings:
    values = {
        "section": "reward",
        "base_url": server.base_url,
        "model": "m",
        "revision": "",
        "api_key_env": "",
        "concurrency": 3,
        "timeout_s": 5.0,
        "deadline_s": 10.0,
        "max_retries": 0,
        "cache": cache,
    }
    return ClientSettings.model_validate({**values, **changes})


async def ask(settings: ClientSettings, texts: list[str]) -> list[str]:
    answers = await asyncio.gather(*(answer_shared(settings, ChatRequest(text, SAMPLING)) for text in texts))
    return [answer.text for answer in answers]


async def test_without_ray_the_client_lives_in_the_process(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        settings = settings_for(server, tmp_path)
        assert await ask(settings, ["a", "b", "a"]) == [f"<answer>{text}</answer>" for text in "aba"]
        assert await ask(settings, ["a"]) == ["<answer>a</answer>"]
    assert sorted(server.prompts) == ["a", "b"]


async def test_settings_survive_the_journey_and_hold_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    ray.shutdown()  # left running by an earlier test, it would hold a client with the old environment
    monkeypatch.setenv("MY_KEY", "secret-key")
    with ScriptedServer() as server:
        settings = settings_for(server, tmp_path, api_key_env="MY_KEY")
        text = settings.model_dump_json()
        assert "secret-key" not in text
        assert ClientSettings.model_validate_json(text) == settings
        await ask(settings, ["a"])
    assert server.calls[0].authorization == "Bearer secret-key"


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    from memsifter.llm.runtime import start_ray
    from memsifter.params import ClusterParams

    ray = pytest.importorskip("ray")
    start_ray(ClusterParams(address=None, job_server=None, num_cpus=4, num_gpus=0))
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_workers_of_a_ray_job_share_bound_flights_and_cache(tmp_path: Path) -> None:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

    @ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
    def work(settings: ClientSettings, texts: list[str]) -> list[str]:
        return asyncio.run(ask(settings, texts))

    texts = [f"q{number}" for number in range(12)]
    with ScriptedServer(then=lambda _: Stall(0.2)) as server:
        settings = settings_for(server, tmp_path)
        results = ray.get([work.remote(settings, texts) for _ in range(3)])
    assert results == [["late"] * 12] * 3
    assert sorted(server.prompts) == sorted(texts)
    assert server.most_at_once <= 3


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_client_outlives_the_worker_that_asked_first(tmp_path: Path) -> None:
    import ray
    from ray import cloudpickle
    from ray.util import list_named_actors

    cloudpickle.register_pickle_by_value(sys.modules[__name__])

    @ray.remote(num_cpus=1, max_calls=1)  # type: ignore[untyped-decorator]
    def work(settings: ClientSettings) -> list[str]:
        return asyncio.run(ask(settings, ["a"]))

    def clients() -> set[str]:
        return {actor["name"] for actor in list_named_actors(all_namespaces=True)}

    before = clients()
    with ScriptedServer() as server:
        settings = settings_for(server, tmp_path)
        ray.get(work.remote(settings))
        time.sleep(2)  # the worker's process ends
        (made,) = clients() - before
        ray.get(work.remote(settings))
        assert clients() - before == {made}
    assert server.prompts == ["a"]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_an_error_reaches_the_worker_as_it_was(tmp_path: Path) -> None:
    def behave(call: Call) -> Act:
        return Fail(404, "no such model") if call.prompt == "a" else Say("", "content_filter")

    with ScriptedServer(then=behave) as server:
        settings = settings_for(server, tmp_path)
        with pytest.raises(MemSifterError, match=rf"^reward: request to {server.base_url} failed: HTTP 404") as caught:
            asyncio.run(ask(settings, ["a"]))
        assert not isinstance(caught.value, RefusedRequestError)
        with pytest.raises(RefusedRequestError, match="content_filter"):
            asyncio.run(ask(settings, ["b"]))
