"""One order out of the coarse score and the ranker's: how much the ranker's counts, fitted on train questions.

The fused score of a candidate is its coarse score, standardised over the candidates, + weight x the ranker's score. The
weight is that of the least listwise loss (`memsifter.fusion.listwise`) on train questions with gold sessions among the
candidates. It is 0 unless the ranker's score makes the gold sessions of conversations that it was not fitted on
likelier, by more than the standard error of that gain: a ranker that knows nothing does not disturb the coarse order.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memsifter.corpus.sessions import Question
from memsifter.corpus.store import Dataset
from memsifter.fusion.combine import standardize
from memsifter.fusion.fit import assign_folds, cross_validate
from memsifter.fusion.listwise import TrainingLists, fit_weights, score_losses
from memsifter.fusion.training_set import group_by_shared_sessions
from memsifter.params import RankParams
from memsifter.ranking.candidates import CoarseScores
from memsifter.ranking.rank import QuestionPrompt, Reading
from memsifter.ranking.weight import RankFusion

Vector = NDArray[np.float64]
Source = Literal["written", "first_number"]

_L2 = 1.0  # holds the two weights to (1, 0), the coarse order; as much as one question with clear evidence
_FOLDS = 10
_LEAST_COARSE = 0.1  # where the coarse score says next to nothing, the ranker's counts ten times its fitted weight
_DIGITS = 4  # far below the uncertainty of a weight, far above the rounding errors that differ between machines


def fuse(coarse: CoarseScores, scores: Vector | None, source: Source, weight: float) -> Vector:
    """Fused scores of a question's candidates; the standardised coarse scores where the ranker gave none.

    Args:
        coarse: (n,) coarse scores of the candidates.
        scores: (n,) the ranker's.
        source: what they are: log-probabilities, or places, which are standardised.
        weight: of the ranker's score.

    Returns:
        float64 (n,).
    """
    fused = _standardized(coarse)
    return fused if scores is None else fused + weight * _comparable(scores, source)


def choose_fit_questions(dataset: Dataset, count: int, seen: Collection[str] = ()) -> list[Question]:
    """At most `count` train questions with gold sessions: the first of each haystack, then the second, and so on.

    Those that the ranker has `seen` are left out: it would look better on them than it is.
    """
    by_haystack: dict[str, list[Question]] = defaultdict(list)
    for question in dataset.questions:
        if question.split == "train" and question.answer_session_ids and question.question_id not in seen:
            by_haystack[question.haystack_id].append(question)
    turns = zip_longest(*by_haystack.values())
    return [question for turn in turns for question in turn if question is not None][:count]


def decide_fusion(
    params: RankParams,
    fitted_on: Sequence[tuple[QuestionPrompt, Reading, CoarseScores]],
    dataset: Dataset,
) -> RankFusion:
    """The fusion that `rank.fusion` asks for.

    Args:
        params: `rank` of params.yaml.
        fitted_on: train questions, what the ranker made of them, and the coarse scores of their haystacks.
        dataset: that these questions are of.
    """
    if params.fusion == "written":
        return RankFusion("written")
    if params.fusion != "fitted":
        return RankFusion("fixed", params.fusion)
    features, gold, questions, lengths = [], [], [], []
    for item, reading, coarse in fitted_on:
        names = dataset.haystack_of(item.question).session_ids
        is_gold = np.asarray([names[place] in item.question.answer_session_ids for place in item.candidates])
        if is_gold.any() and reading.scores is not None:
            columns = _standardized(coarse[list(item.candidates)]), _comparable(reading.scores, params.scores)
            features.append(np.stack(columns, axis=1))
            gold.append(is_gold)
            questions.append(item.question)
            lengths.append(len(is_gold))
    if not questions:
        note = "none of the train questions has gold among its candidates and an output that could be read"
        return RankFusion("fitted", 0.0, note=note)
    lists = TrainingLists(np.concatenate(features), np.concatenate(gold), np.cumsum([0, *lengths], dtype=np.int64))
    return fit_weight(lists, group_by_shared_sessions({"": questions}, {"": dataset}))


def fit_weight(lists: TrainingLists, groups: NDArray[np.int64]) -> RankFusion:
    """Fit the weight of the ranker's score, and decide by cross-validation over the groups whether it stays.

    Args:
        lists: features [entries, 2]: the standardised coarse score and the ranker's.
        groups: int64 [Q]; questions of one group are held out together.
    """
    count = len(groups)
    folds = assign_folds(groups, _FOLDS)
    pulls = [_L2] * len(np.unique(folds))
    alone = TrainingLists(lists.features[:, :1], lists.gold, lists.offsets)
    coarse_alone = max(float(fit_weights(alone, _L2, np.asarray([1.0]))[0]), _LEAST_COARSE)
    if len(pulls) < 2:
        note = "all train questions are of one conversation, so that none is left to hold out"
        return RankFusion("fitted", 0.0, round(coarse_alone, _DIGITS), count, note=note)
    losses = score_losses(lists, cross_validate(lists, folds, pulls, np.asarray([1.0, 0.0])))
    gains = score_losses(lists, cross_validate(alone, folds, pulls, np.asarray([1.0]))) - losses
    gain, error = float(gains.mean()), float(gains.std() / np.sqrt(count))
    coarse, ranker = fit_weights(lists, _L2, np.asarray([1.0, 0.0])).tolist()
    note = ""
    if gain <= error or ranker <= 0:
        note = "the ranker's score does not help on held-out conversations"
        coarse, ranker = coarse_alone, 0.0
    scale = max(coarse, _LEAST_COARSE)
    return RankFusion(
        "fitted",
        round(ranker / scale, _DIGITS),
        round(scale, _DIGITS),
        count,
        round(gain, _DIGITS),
        round(error, _DIGITS),
        note,
    )


def _standardized(values: CoarseScores | Vector) -> Vector:
    return standardize(np.asarray(values), np.asarray([0, len(values)], dtype=np.int64))


def _comparable(scores: Vector, source: Source) -> Vector:
    """The ranker's scores on a scale that questions share."""
    return _standardized(scores) if source == "written" else scores - scores.mean()
