"""Average a round's collected checkpoints into one ranker: python -m stages.merge <round>."""

from memsifter.cards.render import CARD_FILE, render_model_card
from memsifter.checkpoints.collect import step_directories
from memsifter.checkpoints.merge import merge_checkpoints
from memsifter.command import run_stage
from memsifter.io.files import json_text, read_json
from memsifter.io.paths import collected_directory, model_directory, rl_directory, training_report_directory
from memsifter.models.trained_on import TRAINED_ON_FILE, join_seen, read_round_questions, read_trained_on
from memsifter.params import Params
from memsifter.tracking.lineage import read_lineage


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `models/<round>/`, a Hugging Face directory with its model card and the questions that it has seen."""
    checkpoints = step_directories(collected_directory(round_name))
    validation = read_json(training_report_directory(round_name) / "validation.json")
    names = [checkpoint.name for checkpoint in checkpoints]
    card = render_model_card(params, round_name, names, validation, read_lineage(f"models/collected/{round_name}"))
    earlier = read_trained_on(model_directory(params.rounds[round_name].start_from))
    seen = join_seen(earlier, read_round_questions(rl_directory(round_name)))
    texts = {CARD_FILE: card, TRAINED_ON_FILE: json_text(seen)}
    merge_checkpoints(checkpoints, model_directory(round_name), params.merge.dtype, params.merge.weights, texts=texts)
    return {"checkpoints": len(checkpoints)}


if __name__ == "__main__":
    run_stage(main)
