"""Draw the questions of a training round and write them as RL data: python -m stages.prepare_rl <round>."""

from statistics import fmean

from memsifter.command import run_stage
from memsifter.io.paths import rl_directory, rl_report_directory
from memsifter.params import Params
from memsifter.rl_data.round import prepare_round, write_round


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `data/rl/<round>/` and `reports/rl/<round>/`."""
    datasets = prepare_round(params, round_name)
    write_round(datasets, params, round_name, rl_directory(round_name), rl_report_directory(round_name))
    tokens = [count for item in datasets for count in item.prompt_tokens]
    return {
        "train_rows": sum(len(item.train) for item in datasets),
        "test_rows": sum(len(item.test) for item in datasets),
        "prompt_tokens_mean": fmean(tokens),
        "prompt_tokens_max": max(tokens),
        "ndcg_mean": fmean(value for item in datasets for value in item.ndcg),
    }


if __name__ == "__main__":
    run_stage(main)
