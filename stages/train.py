"""Train a ranker for one round with DAPO: python -m stages.train <round>.

verl's own trainer does it (`verl.trainer.main_ppo`), on GPUs or on a CPU. An interrupted run continues from its last
checkpoint, which lies in `.cache/memsifter/train/`.
"""

from collections.abc import Callable, Mapping

from memsifter.command import run_stage
from memsifter.io.files import write_json
from memsifter.io.paths import checkpoints_directory, training_report_directory
from memsifter.params import Params
from memsifter.training.report import (
    log_live,
    measure_gain,
    open_live,
    write_curve,
    write_generations,
    write_live,
    write_rollouts,
)
from memsifter.training.round import train_round


def main(params: Params, round_name: str, *, log_step: Callable[[int, Mapping[str, float]], None]) -> dict[str, float]:
    """Write `models/checkpoints/<round>/` and `reports/training/<round>/`."""
    report = training_report_directory(round_name)
    with open_live(report / "live") as live:

        def on_step(step: int, metrics: Mapping[str, float]) -> None:
            log_step(step, metrics)
            log_live(live, step, metrics)

        run = train_round(params, round_name, on_step)
    run.check_kept(params.train.keep_best, params.train.save_every)
    run.publish(checkpoints_directory(round_name))
    rewards = run.validation_rewards()
    write_live(report / "live", run.history())
    write_curve(report / "curve.csv", run.history())
    write_generations(report / "generations.csv", run.generations, rewards)
    write_rollouts(report / "rollouts.csv", run.rollouts, run.dumped_steps())
    gain = measure_gain(run.generations, min(rewards), max(rewards), params.seed)
    write_json(report / "validation.json", gain)
    return {
        "steps": params.train.steps,
        "validation_reward_first": gain["reward"]["first"],
        "validation_reward": gain["reward"]["last"],
        "validation_ndcg_first": gain["ndcg"]["first"],
        "validation_ndcg": gain["ndcg"]["last"],
    }


if __name__ == "__main__":
    run_stage(main)
