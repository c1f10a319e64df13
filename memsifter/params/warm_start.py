"""The optional supervised start of training."""

from typing import Annotated

from pydantic import Field

from memsifter.params.base import Count, Section


class WarmStartParams(Section):
    """Supervised steps on gold rankings before DAPO, so that a small model knows the output format.

    A step takes `batch_size` questions. Device, processes per machine and `micro_batch_tokens` are those of `train`.
    """

    steps: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
