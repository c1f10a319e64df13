"""The stages that need no training run without it; test_smoke_pipeline.py compares what they write with its own."""

import pytest
from pipeline_clone import UNTRAINED_STAGES, Clone

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1500)]


def test_all_but_training_runs_and_is_then_up_to_date(untrained_source: Clone) -> None:
    assert "up to date" in untrained_source.check("dvc", "status", *UNTRAINED_STAGES)
    assert not (untrained_source.root / "models/checkpoints/round1").exists()
