"""The application: routes, guard, metrics, and what happens at its start and end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from memsifter.errors import MemSifterError
from memsifter.serving import chat, rerank, sift
from memsifter.serving.errors import add_handlers
from memsifter.serving.guard import OPEN_PATHS, Guard
from memsifter.serving.mcp_tool import build_server
from memsifter.serving.metrics import Metrics, forget_process
from memsifter.serving.proxy import Upstream
from memsifter.serving.settings import ServerSettings
from memsifter.serving.state import State
from memsifter.serving.work import Gate, WorkPool
from memsifter.sifter.memory import Memory
from memsifter.sifter.sifter import Sifter

logger = logging.getLogger(__name__)

_SEARCHES = frozenset({*rerank.PATHS, "/v1/sift", "/mcp"})
_CHAT = "/v1/chat/completions"
_OWN_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_WARM_UP = [{"turns": [{"role": "user", "content": "My cat is called Momo."}]}]
_DESCRIPTION = (
    "Finds the few past conversation sessions that a question needs. Every error is "
    '`{"message", "error": {"message", "type", "code"}}`.'
)


def create_app(settings: ServerSettings, sifter: Sifter, memory: Memory | None = None) -> FastAPI:
    """The application of one process.

    Args:
        settings: what the server was told.
        sifter: searches; the application closes it at its end, and the memory.
        memory: what the MCP tool at `/mcp` searches; None: there is no such tool.

    Raises:
        MemSifterError: a key is missing that is needed.
    """
    key, llm = settings.read_key(), settings.read_llm()
    pool = WorkPool(settings.limits)
    metrics = Metrics(_SEARCHES | OPEN_PATHS | {_CHAT, "/metrics"})
    state = State(settings, sifter, memory, None, pool, metrics)
    tools = None if memory is None else build_server(memory, settings.user, pool.run)

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(forget_process)
            stack.callback(sifter.close)
            if memory is not None:
                stack.callback(memory.close)
            stack.callback(pool.stop)
            if llm is not None:
                state.upstream = Upstream(llm)
                stack.push_async_callback(state.upstream.close)
            if tools is not None:
                await stack.enter_async_context(tools.session_manager.run())
            loading = asyncio.create_task(_load(state))
            stack.callback(loading.cancel)
            yield

    app = FastAPI(title="MemSifter", version="1", description=_DESCRIPTION, lifespan=live, redoc_url=None)
    app.state.serving = state
    for router in (rerank.router, sift.router, chat.router):
        app.include_router(router)
    _add_probes(app, state)
    if tools is not None:
        # The guard checks the host of a request, for every route.
        tools_app = tools.streamable_http_app(json_response=True, stateless_http=True, host="0.0.0.0")  # noqa: S104
        app.router.routes.extend(tools_app.routes)
    add_handlers(app)
    chats = Gate(settings.limits.chats, settings.limits.chats)
    gates = dict.fromkeys(_SEARCHES, pool.gate) | {_CHAT: chats}
    # The last one added is the first that a request meets.
    app.add_middleware(Guard, key=key, hosts={*_OWN_HOSTS, settings.shown_host}, limits=settings.limits, gates=gates)
    app.add_middleware(metrics)
    return app


async def _load(state: State) -> None:
    try:
        await asyncio.to_thread(state.sifter.sift, "What is my cat called?", _WARM_UP)
        state.ready = True
    except Exception as error:
        state.problem = f"the models cannot be loaded: {error}"
        logger.error("%s", state.problem, exc_info=None if isinstance(error, MemSifterError) else error)


def _add_probes(app: FastAPI, state: State) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/ready", tags=["operation"], responses={503: {"description": "The models are not loaded yet."}})
    async def ready() -> JSONResponse:
        """Whether the models are loaded. Requests before that are taken, and wait."""
        if state.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "message": state.problem}, 503)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(await asyncio.to_thread(state.metrics.render), media_type=CONTENT_TYPE_LATEST)
