"""Teaching a causal LM which session explains a question: a LoRA adapter under a listwise loss."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from memsifter.corpus.store import Dataset
from memsifter.errors import MemSifterError
from memsifter.fusion.combine import combine_scores, standardize
from memsifter.io.files import atomic_file, sha256_json
from memsifter.likelihood.model import ScoredText, pad_texts, scored_log_probabilities
from memsifter.likelihood.texts import QuestionTexts
from memsifter.models.adapters import add_adapter, load_causal_lm, save_adapter
from memsifter.models.references import fingerprint_model
from memsifter.params import LikelihoodFitParams, RetrievalParams
from memsifter.retrieval.score_lists import ScoreLists

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_WARM_UP = 0.1  # share of the steps
_LARGEST_GRADIENT = 1.0  # norm


@dataclass(frozen=True, slots=True)
class Example:
    """A train question: n sessions that the model reads, at least one of them gold and one not.

    Attributes:
        question_id: which question.
        texts: what is read of each session.
        prior: float64 [n], the standardised hand-weighted scores.
        gold: bool [n].
    """

    question_id: str
    texts: tuple[ScoredText, ...]
    prior: NDArray[np.float64]
    gold: NDArray[np.bool_]


def build_examples(
    dataset: Dataset, scores: ScoreLists, texts: Iterable[QuestionTexts], params: RetrievalParams
) -> list[Example]:
    """The questions that something can be learned from: a gold session and another one are read.

    Args:
        dataset: the questions.
        scores: the coarse scores that `hand_weighted` sums.
        texts: what is read for each question (`memsifter.likelihood.texts.build_texts`).
        params: weights of the hand-weighted order.
    """
    prior = standardize(combine_scores(scores, params, {})["hand_weighted"], scores.offsets)
    rows = {name: row for row, name in enumerate(scores.question_ids)}
    examples = []
    for item in texts:
        session_ids = dataset.haystack_of(item.question).session_ids
        gold = np.asarray([session_ids[place] in item.question.answer_session_ids for place in item.positions])
        if gold.any() and not gold.all():
            first = scores.offsets[rows[item.question.question_id]]
            places = first + np.asarray(item.positions)
            examples.append(Example(item.question.question_id, item.texts, prior[places], gold))
    return examples


def listwise_loss(
    log_likelihoods: "torch.Tensor", prior: "torch.Tensor", gold: "torch.Tensor", weight: float
) -> "torch.Tensor":
    """Cross-entropy between the gold sessions and the softmax over prior + weight · log-likelihood.

    It is the loss that the fusion's weights are fitted by (`memsifter.fusion.listwise`), with the likelihood learned.

    Args:
        log_likelihoods: float32 [n], in nats.
        prior: float32 [n].
        gold: bool [n], at least one.
        weight: of a nat.

    Returns:
        A float32 scalar.
    """
    share = (prior + weight * log_likelihoods).log_softmax(0)
    return -share[gold].mean()


def batches(count: int, params: LikelihoodFitParams, seed: int) -> list[list[int]]:
    """The questions of each step, as numbers below `count`: every epoch shuffled anew, the last step of one shorter."""
    random = np.random.default_rng(seed)
    size = params.batch_questions
    steps: list[list[int]] = []
    for _ in range(params.epochs):
        order = random.permutation(count).tolist()
        steps += [order[start : start + size] for start in range(0, count, size)]
    return steps


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Rises linearly over the first tenth of the steps, then falls linearly towards 0; `step` counts from 0."""
    warm = max(1, round(_WARM_UP * steps))
    return highest * min((step + 1) / warm, (steps - step) / max(1, steps - warm))


@dataclass
class Training:
    """A training in progress: the adapted model, its optimizer, and the loss of each step that was taken."""

    model: Any
    optimizer: "torch.optim.AdamW"
    losses: list[float] = field(default_factory=list)

    def trained(self) -> "dict[str, torch.Tensor]":
        """The adapter's tensors by name."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def save(self, path: Path) -> None:
        """Write the adapter, the optimizer's moments and the losses to one safetensors file, whole or not at all."""
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for name, value in self.trained().items():
            moments = self.optimizer.state[value]
            tensors |= {f"value.{name}": value.detach(), **{f"{key}.{name}": moments[key] for key in moments}}
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_file(path) as temporary:
            save_file(plain, temporary, metadata={"losses": json.dumps(self.losses)})

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        import torch
        from safetensors import safe_open

        with safe_open(path, framework="pt") as stored:
            self.losses = json.loads(stored.metadata()["losses"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        with torch.no_grad():
            for name, value in self.trained().items():
                value.copy_(tensors[f"value.{name}"])
                self.optimizer.state[value] = {
                    key: tensors[f"{key}.{name}"].to(value.device if key != "step" else "cpu")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }


def finetune(
    examples: Sequence[Example], model: Path, params: LikelihoodFitParams, cache: Path, adapter: Path, seed: int
) -> list[float]:
    """Train an adapter; an interrupted training goes on from its last checkpoint.

    On a CPU the same inputs give the same adapter, to the last bit on one kind of CPU.

    Args:
        examples: of `build_examples`.
        model: Hugging Face directory of a causal LM.
        params: how.
        cache: folder of checkpoints; one is named by a hash of all that decides the result.
        adapter: where the adapter is written, as peft saves it.
        seed: of the adapter's first values, of the order of questions and of dropout, where the model has any.

    Returns:
        The loss of each step.

    Raises:
        MemSifterError: there is nothing to learn from, or the loss is no longer finite.
    """
    import torch

    if not examples:
        raise MemSifterError(
            "retrieval.likelihood.fits: no train question has both a gold session and another one among those read; "
            "name datasets with train questions and gold sessions"
        )
    drawn = _draw(examples, params.questions, seed)
    steps = batches(len(drawn), params, seed)
    torch.manual_seed(seed)
    adapted = add_adapter(load_causal_lm(model, params.dtype), params.lora_rank).to(params.device)
    values = [value for value in adapted.parameters() if value.requires_grad]
    training = Training(adapted, torch.optim.AdamW(values, lr=params.learning_rate, weight_decay=0.0))
    checkpoint = cache / f"{_identity(drawn, model, params, seed)}.safetensors"
    if checkpoint.is_file():
        training.load(checkpoint)
        logger.info("going on after step %d of %d", len(training.losses), len(steps))
    adapted.train()
    with tqdm(total=len(steps), initial=len(training.losses), desc="fit_likelihood", unit="step", disable=None) as bar:
        for step in range(len(training.losses), len(steps)):
            torch.manual_seed(seed + step)  # of a model with dropout: as it would be without an interruption
            rate = learning_rate(step, len(steps), params.learning_rate)
            loss = _take_step(training, [drawn[number] for number in steps[step]], rate, params)
            if not np.isfinite(loss):
                raise MemSifterError(f"step {step + 1}: the loss is {loss}; lower learning_rate")
            training.losses.append(round(loss, 4))
            if (step + 1) % params.save_every == 0 or step + 1 == len(steps):
                training.save(checkpoint)
                logger.info("step %d of %d: loss %.3f", step + 1, len(steps), loss)
            bar.set_postfix(loss=f"{loss:.3f}")
            bar.update()
    save_adapter(adapted, adapter)
    return training.losses


def _draw(examples: Sequence[Example], most: int | None, seed: int) -> list[Example]:
    if most is None or most >= len(examples):
        return list(examples)
    chosen = np.random.default_rng(seed).choice(len(examples), size=most, replace=False)
    return [examples[number] for number in sorted(chosen)]


def _identity(examples: Sequence[Example], model: Path, params: LikelihoodFitParams, seed: int) -> str:
    read = [
        [[text.tokens for text in example.texts], example.prior.round(6).tolist(), example.gold.tolist()]
        for example in examples
    ]
    settings = params.model_dump(exclude={"datasets", "questions", "save_every", "device"})
    return sha256_json([fingerprint_model(model), settings, seed, read])


def _take_step(training: Training, questions: Sequence[Example], rate: float, params: LikelihoodFitParams) -> float:
    """One update; gradients are summed question by question, so memory holds the activations of one question."""
    import torch

    training.optimizer.zero_grad()
    total = 0.0
    for example in questions:
        log_likelihoods = _read(training.model, example.texts, params.device)
        prior, gold = (torch.from_numpy(part).to(params.device) for part in (example.prior, example.gold))
        loss = listwise_loss(log_likelihoods, prior.float(), gold, params.weight) / len(questions)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(training.trained().values(), _LARGEST_GRADIENT)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()
    return total


def _read(model: Any, texts: Sequence[ScoredText], device: str) -> "torch.Tensor":
    """The log-likelihood of each text's scored tokens, float32 [texts], with gradients."""
    import torch

    tokens, owners, columns = pad_texts(texts, device)
    parts = scored_log_probabilities(model, tokens, owners, columns)
    return torch.zeros(len(texts), device=device).index_add(0, owners, parts)
