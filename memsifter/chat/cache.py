"""The cache of answers: what a model answered to each request, kept for all later runs."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from memsifter.chat.endpoint import ChatRequest
from memsifter.chat.reply import Answer
from memsifter.io.files import sha256_json
from memsifter.io.text_cache import TextCache

_ANSWER = TypeAdapter(Answer)
_KEY_VERSION = 2  # raise it when the meaning of a cached answer changes


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights answer, wherever they are served.

    Attributes:
        model: the name that the endpoint knows.
        revision: what tells models of one name apart: the hash of a local model's weights, or a remote one's address.
    """

    model: str
    revision: str = ""


def request_key(identity: ModelIdentity, request: ChatRequest) -> str:
    """Hex SHA-256 of everything that determines the answer."""
    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    return sha256_json(
        {"version": _KEY_VERSION, **asdict(identity), "prompt": prompt, "sampling": asdict(request.sampling)}
    )


class AnswerCache:
    """Answers by request key in a folder, for several processes at once."""

    def __init__(self, directory: Path) -> None:
        self._texts = TextCache(directory)

    def get(self, key: str) -> Answer | None:
        """The answer to a request, marked as cached; None if it was never answered, or its entry is unreadable.

        Raises:
            MemSifterError: the cache is damaged or cannot be read.
        """
        entry = self._texts.get(key)
        return None if entry is None else _read_entry(entry)

    def put(self, key: str, answer: Answer) -> Answer:
        """Keep an answer.

        Returns:
            The answer that is kept: another process's if that was faster, so that all of them go on with the same one.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        entry = _ANSWER.dump_json(answer, exclude={"cached"}).decode()
        kept = self._texts.add(key, entry)
        if kept == entry:
            return answer
        if (others := _read_entry(kept)) is not None:
            return others
        self._texts.put(key, entry)
        return answer

    def close(self) -> None:
        """Close this process's connection."""
        self._texts.close()


def _read_entry(entry: str) -> Answer | None:
    try:
        return replace(_ANSWER.validate_json(entry), cached=True)
    except ValidationError:
        return None
