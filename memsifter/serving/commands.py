"""The commands `memsifter serve` and `memsifter mcp`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsifter.sifter.commands import AddCommand, add_models, open_sifter, read_text

if TYPE_CHECKING:
    from memsifter.sifter.memory import Memory


def add_commands(commands: Any, add: AddCommand) -> None:
    """Add the commands to those of `memsifter`."""
    serve = add(
        commands,
        "serve",
        _serve,
        "Offer the sifter over HTTP. /v1/rerank, /v1/sift, and with an LLM /v1/chat/completions; the page /docs "
        "describes them. The key that clients must send is read from the environment variable MEMSIFTER_API_KEY; only "
        "this machine can reach a server without one.",
        "memsifter serve\n"
        "memsifter serve --llm-url http://localhost:11434/v1 --llm-model qwen3:4b\n"
        "memsifter serve --memory memory.sqlite --user ann        with the MCP tool at /mcp\n"
        "MEMSIFTER_API_KEY=… memsifter serve --host 0.0.0.0 --processes 4",
    )
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="0 takes one that is free (default: 8000)")
    serve.add_argument(
        "--api-key-env", default="MEMSIFTER_API_KEY", metavar="NAME", help="variable with the clients' key"
    )
    serve.add_argument("--processes", type=int, default=1, help="how many answer; each loads the models (default: 1)")
    _add_llm(serve)
    _add_limits(serve)
    _add_memory(serve, required=False)
    add_models(serve)
    mcp = add(
        commands,
        "mcp",
        _mcp,
        "Offer a memory to agents as the MCP tool search_memory, on stdin and stdout. An agent starts this command by "
        "itself; it searches the sessions that a memory keeps of one user.",
        "memsifter mcp --memory memory.sqlite --user ann\n"
        "memsifter mcp --memory memory.sqlite --add history.jsonl        first keep the sessions of a file",
    )
    _add_memory(mcp, required=True)
    mcp.add_argument("--add", metavar="FILE", help="sessions to keep first, as for `memsifter sift`")
    add_models(mcp)


def _add_llm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--llm-url", metavar="URL", help="the OpenAI-compatible endpoint behind /v1/chat/completions")
    parser.add_argument("--llm-model", metavar="MODEL", help="the LLM's name there (default: what the client names)")
    parser.add_argument(
        "--llm-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="variable with its key (default: OPENAI_API_KEY)",
    )
    parser.add_argument(
        "--llm-seconds", type=float, default=120.0, metavar="S", help="its longest silence (default: 120)"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2, help="searches at once, per process (default: 2)")
    parser.add_argument("--waiting", type=int, default=32, help="requests that may wait beyond these (default: 32)")
    parser.add_argument("--chats", type=int, default=64, help="requests that may wait for the LLM (default: 64)")
    parser.add_argument("--max-body-mib", type=float, default=8.0, metavar="MIB", help="the largest body (default: 8)")
    parser.add_argument(
        "--max-sessions", type=int, default=10_000, metavar="N", help="most sessions of a request (default: 10000)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="longest search (default: 60)")


def _add_memory(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--memory", required=required, metavar="FILE", help="a file of memsifter.Memory; made if missing"
    )
    parser.add_argument("--user", default="default", help="whose sessions the tool searches (default: default)")


def _serve(options: argparse.Namespace) -> None:
    from memsifter.serving.server import serve
    from memsifter.serving.settings import Limits, ServerSettings

    limits = Limits(
        options.threads, options.waiting, options.chats, options.max_body_mib, options.max_sessions, options.seconds
    )
    settings = ServerSettings(
        host=options.host,
        port=options.port,
        api_key_env=options.api_key_env,
        limits=limits,
        llm_url=options.llm_url,
        llm_model=options.llm_model,
        llm_key_env=options.llm_key_env,
        llm_seconds=options.llm_seconds,
        memory=options.memory,
        user=options.user,
    )
    # The parser's own functions cannot be given to another process.
    models = argparse.Namespace(**{name: value for name, value in vars(options).items() if not callable(value)})
    serve(settings, models, options.processes)


def _mcp(options: argparse.Namespace) -> None:
    import asyncio

    from memsifter.serving.mcp_tool import build_server
    from memsifter.sifter.memory import Memory

    with open_sifter(options) as sifter, Memory(Path(options.memory), sifter) as memory:
        if options.add:
            _keep(memory, options.user, options.add)
        build_server(memory, options.user, asyncio.to_thread).run("stdio")


def _keep(memory: "Memory", user: str, file: str) -> None:
    from memsifter.errors import MemSifterError
    from memsifter.sifter.inputs import parse_sessions, read_sessions

    if file == "-":
        raise MemSifterError("--add: stdin is the agent's; name a file")
    memory.add_many(user, read_sessions(parse_sessions(read_text(file), file)))
