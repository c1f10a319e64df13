"""The answer cache: what an endpoint once answered is never asked again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from memsifter.chat.request import Answer
from memsifter.text_cache import TextCache


class AnswerCache:
    """Answers by request key in a folder, for several processes at once."""

    def __init__(self, directory: Path) -> None:
        self._texts = TextCache(directory)

    def get(self, key: str) -> Answer | None:
        """The answer to a request, marked as cached; None if it was never answered.

        Raises:
            MemSifterError: the cache is damaged or cannot be read.
        """
        entry = self._texts.get(key)
        return None if entry is None else self._read(entry)

    def put(self, key: str, answer: Answer) -> Answer:
        """Keep an answer.

        Returns:
            The answer that is kept: another process's if that was faster, so that all of them go on with the same one.

        Raises:
            MemSifterError: the cache is damaged or cannot be written.
        """
        value = {name: field for name, field in asdict(answer).items() if name != "cached"}
        entry = json.dumps(value)
        kept = self._texts.add(key, entry)
        return answer if kept == entry else self._read(kept)

    def close(self) -> None:
        """Close this process's connection."""
        self._texts.close()

    def _read(self, entry: str) -> Answer:
        try:
            return replace(Answer(**json.loads(entry)), cached=True)
        except (ValueError, TypeError) as error:
            raise self._texts.broken(error) from error
