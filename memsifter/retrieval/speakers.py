"""Who a question is about: the speakers of a haystack that it names."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Whoever asks an assistant about "my" past is the user of those sessions.
_FIRST_PERSON = re.compile(r"\b(?:I|[Mm]e|[Mm]y|[Mm]ine|[Ww]e|[Oo]ur)\b|[我咱]")
_USER = "user"


def named_speakers(questions: Sequence[str], speakers: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the speakers each question names; a question in the first person names the speaker "user".

    Names are found as whole words, and as they are written. Between Chinese characters, which nothing separates, any
    place is the end of a word.

    Returns:
        bool [questions, speakers].
    """
    named = np.zeros((len(questions), len(speakers)), dtype=np.bool_)
    for column, speaker in enumerate(speakers):
        pattern = re.compile(rf"(?<![A-Za-z0-9]){re.escape(speaker)}(?![A-Za-z0-9])")
        named[:, column] = [
            bool(pattern.search(text) or (speaker == _USER and _FIRST_PERSON.search(text))) for text in questions
        ]
    return named
