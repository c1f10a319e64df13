from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow  # importing verl takes many seconds

GROUPS = np.array(["a", "a", "a", "b", "b", "b"])
OUTCOME = [0.0, 0.01, 0.02, 0.0, 0.0, 0.0]  # varies little, and not at all in group b
RETRIEVAL = [0.9, 0.1, 0.5, 0.2, 0.8, 0.5]
ALPHA, BETA = 0.3, 0.7


def responses() -> tuple[list[torch.Tensor], torch.Tensor]:
    """Rewards as verl has them, all on the last token, and the mask of the padded responses."""
    lengths = [3, 4, 2, 4, 3, 2]
    rewards = [torch.zeros(length) for length in lengths]
    for tokens, outcome, retrieval in zip(rewards, OUTCOME, RETRIEVAL, strict=True):
        tokens[-1] = ALPHA * outcome + BETA * retrieval
    return rewards, (torch.arange(4) < torch.tensor(lengths)[:, None]).float()


def normalise(values: list[float]) -> np.ndarray:
    """The textbook: within each group, minus the mean, over the standard deviation."""
    array = np.array(values)
    return np.concatenate([(part - part.mean()) / (part.std(ddof=1) + 1e-6) for part in (array[:3], array[3:])])


def test_the_parts_are_normalised_each_by_itself() -> None:
    from memsifter.training.verl.gdpo import compute_gdpo_advantage, split_rewards

    rewards, mask = responses()
    split = split_rewards(rewards, [ALPHA * value for value in OUTCOME], [float(tokens.sum()) for tokens in rewards])
    assert [float(tokens.sum()) for tokens in split] == pytest.approx([float(tokens.sum()) for tokens in rewards])
    padded = torch.nn.utils.rnn.pad_sequence(split, batch_first=True)
    weights = SimpleNamespace(gdpo_reward_weights=[ALPHA, BETA])
    advantages, returns = compute_gdpo_advantage(padded, mask, GROUPS, config=weights)
    assert torch.equal(advantages, returns)

    expected = (ALPHA * normalise(OUTCOME) + BETA * normalise(RETRIEVAL))[:, None] * mask.numpy()
    tokens = expected[mask.numpy() == 1]
    whitened = (expected - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8) * mask.numpy()
    np.testing.assert_allclose(advantages.numpy(), whitened, atol=2e-3)


def test_a_part_that_varies_little_counts_as_much_as_one_that_varies_more() -> None:
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    from memsifter.training.verl.gdpo import split_rewards

    rewards, mask = responses()
    index = GROUPS[:3]
    split = split_rewards(rewards, [ALPHA * v for v in OUTCOME], [float(tokens.sum()) for tokens in rewards])
    padded = torch.nn.utils.rnn.pad_sequence(split[:3], batch_first=True)
    gdpo = get_adv_estimator_fn("memsifter_gdpo")  # type: ignore[no-untyped-call]
    equal = gdpo(padded, mask[:3], index, config=SimpleNamespace(gdpo_reward_weights=[0.5, 0.5]))[0][:, 0]
    grpo = get_adv_estimator_fn("grpo")(padded, mask[:3], index)[0][:, 0]  # type: ignore[no-untyped-call]
    assert int(grpo.argmax()) == 0  # by the sum, the best retrieval wins
    assert int(equal.argmax()) == 2  # good in both


def test_a_response_of_one_token_stays_as_it_is() -> None:
    from memsifter.training.verl.gdpo import split_rewards

    (split,) = split_rewards([torch.tensor([0.25])], [0.1], [0.25])
    assert split.tolist() == [0.25]


@pytest.mark.parametrize("weights", [[1.0, 0.0], [0.0, 1.0]])
def test_a_long_response_is_penalised_whatever_the_parts_weigh(weights: list[float]) -> None:
    from memsifter.training.verl.gdpo import compute_gdpo_advantage, split_rewards

    penalties = torch.tensor([0.0, -0.1, -0.5])
    rewards = [torch.tensor([0.0, 0.0, 0.0, 0.6 + float(penalty)]) for penalty in penalties]
    parts = torch.stack(split_rewards(rewards, [0.6 * weights[0]] * 3, [0.6] * 3))
    assert torch.allclose(parts.sum(dim=1), 0.6 + penalties)
    config = SimpleNamespace(gdpo_reward_weights=weights)
    advantages = compute_gdpo_advantage(parts, torch.ones(3, 4), GROUPS[:3], config=config)[0][:, 0]
    assert torch.allclose(advantages.diff() / advantages.diff()[0], torch.tensor([1.0, 4.0]), atol=1e-3)
