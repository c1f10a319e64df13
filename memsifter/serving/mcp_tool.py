"""The MCP tool `search_memory`: how agents ask for what was said before."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from memsifter.errors import MemSifterError
from memsifter.serving.sift import SiftResponse, describe
from memsifter.sifter.memory import Memory
from memsifter.sifter.results import SiftedSession

_INSTRUCTIONS = "Search the user's past conversations before you say that you do not know something about the user."
Run = Callable[[Callable[[], list[SiftedSession]]], Awaitable[list[SiftedSession]]]
"""Runs a search in a thread."""


def build_server(memory: Memory, user: str, run: Run) -> MCPServer:
    """An MCP server with the tool.

    Args:
        memory: what is searched.
        user: whose sessions. It is not the LLM that chooses.
        run: runs the search, in a thread.
    """
    server = MCPServer("memsifter", instructions=_INSTRUCTIONS, log_level="WARNING")

    async def search_memory(
        question: Annotated[str, Field(min_length=1, description="What you want to know, as a whole question.")],
        question_date: Annotated[
            str | None, Field(description="Today's date, such as 2024-05-20; 'last week' counts from there.")
        ] = None,
        top_k: Annotated[int, Field(ge=1, le=100, description="The most sessions.")] = 5,
        min_score: Annotated[float | None, Field(description="Leaves out sessions whose score is lower.")] = None,
    ) -> SiftResponse:
        """Find the few past conversations with the user that help with a question, best first, with excerpts."""
        try:
            found = await run(lambda: memory.search(user, question, question_date, top_k, min_score))
        except (MemSifterError, TimeoutError) as error:
            raise ToolError(str(error)) from error
        return SiftResponse(sessions=describe(found))

    server.add_tool(search_memory, title="Search past conversations")
    return server
