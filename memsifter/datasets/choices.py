"""The options of a multiple-choice question, and which of them is right."""

import re
from collections.abc import Sequence

from memsifter.errors import DataError

_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_LABEL = re.compile(r"\(?([A-Za-z])[).:]")


def chosen_option(answer: str, options: Sequence[str], where: str) -> str:
    """The option that `answer` means: the option itself, or its letter as in `(c)`, where the options are lettered.

    Raises:
        DataError: none, or more than one, is meant.
    """
    if not options or answer in options:
        return answer
    letter = _LETTER.fullmatch(answer.strip())
    labels = [_LABEL.match(option.strip()) for option in options]
    meant = [
        option
        for option, label in zip(options, labels, strict=True)
        if letter and label and label[1].lower() == letter[1].lower()
    ]
    if len(meant) != 1:
        raise DataError(
            f"{where}: the answer {answer[:40]!r} is none of the {len(options)} options",
            field="answer",
            fix="give one of the options, or its letter",
        )
    return meant[0]
