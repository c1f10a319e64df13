"""MLflow: one parent run per pipeline run or DVC experiment, one child run per stage.

Nothing but parameters, metrics, content hashes and the Git commit is ever recorded; passwords and query strings of URIs
are masked first. MLflow takes seconds to import, so what needs it is imported when it is first used.
"""

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# MLflow reads both when it is imported: send no usage data anywhere, and leave logging as the command has set it up.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
# Both report an error that is raised as well, the first one with a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

if TYPE_CHECKING:
    from memsifter.tracking.record import complete_experiments, sync
    from memsifter.tracking.stage_run import StageRun, track_stage
    from memsifter.tracking.store import tracking_uri

__all__ = ["StageRun", "complete_experiments", "sync", "track_stage", "tracking_uri"]

_MODULES = {"complete_experiments": "record", "sync": "record", "tracking_uri": "store"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'stage_run')}"), name)
