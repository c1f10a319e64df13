"""Average a round's collected checkpoints into one ranker: python -m stages.merge <round>."""

from memsifter.cards.render import CARD_FILE, render_model_card
from memsifter.checkpoints.collect import step_directories
from memsifter.checkpoints.merge import merge_checkpoints
from memsifter.command import run_stage
from memsifter.io.files import read_json
from memsifter.io.paths import collected_directory, model_directory, training_report_directory
from memsifter.params import Params
from memsifter.tracking.lineage import read_lineage


def main(params: Params, round_name: str) -> dict[str, float]:
    """Write `models/<round>/`, a Hugging Face directory with its model card."""
    checkpoints = step_directories(collected_directory(round_name))
    validation = read_json(training_report_directory(round_name) / "validation.json")
    names = [checkpoint.name for checkpoint in checkpoints]
    card = render_model_card(params, round_name, names, validation, read_lineage(f"models/collected/{round_name}"))
    merge_checkpoints(
        checkpoints, model_directory(round_name), params.merge.dtype, params.merge.weights, texts={CARD_FILE: card}
    )
    return {"checkpoints": len(checkpoints)}


if __name__ == "__main__":
    run_stage(main)
