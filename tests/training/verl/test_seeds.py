from memsifter.training.verl.cpu_platform.seeds import SeedSequence

ONE, TWO = [1, 2, 3], [1, 2, 4]


def test_responses_to_a_prompt_have_seeds_of_their_own() -> None:
    seeds = SeedSequence(7)
    assert len({seeds.next(1, ONE) for _ in range(100)}) == 100
    assert all(0 <= seeds.next(1, TWO) < 2**31 for _ in range(100))


def test_the_order_of_prompts_does_not_matter() -> None:
    first, second = SeedSequence(7), SeedSequence(7)
    ordered = {"one": [first.next(1, ONE) for _ in range(2)], "two": [first.next(1, TWO) for _ in range(2)]}
    mixed = [second.next(1, tokens) for tokens in (TWO, ONE, TWO, ONE)]
    assert ordered == {"one": mixed[1::2], "two": mixed[::2]}


def test_a_run_that_goes_on_from_a_checkpoint_draws_what_it_would_have_drawn() -> None:
    whole = SeedSequence(7)
    whole.next(1, ONE)
    assert whole.next(2, ONE) == SeedSequence(7).next(2, ONE)
    assert whole.next(3, ONE) != SeedSequence(8).next(3, ONE)
