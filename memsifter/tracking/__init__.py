"""MLflow: one parent run per pipeline run or DVC experiment, one child run per stage.

Nothing but parameters, metrics, content hashes and the Git commit is ever recorded; passwords and query strings of URIs
are masked first.
"""

import logging
import os

# MLflow reads both when it is imported: send no usage data anywhere, and leave logging as the command has set it up.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
# Both report an error that is raised as well, the first one with a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

from memsifter.tracking.dvc_experiments import complete_experiments  # noqa: E402
from memsifter.tracking.experiment import tracking_uri  # noqa: E402
from memsifter.tracking.restored import record_restored_stages, sync  # noqa: E402
from memsifter.tracking.stage_run import StageRun, track_stage  # noqa: E402

__all__ = ["StageRun", "complete_experiments", "record_restored_stages", "sync", "track_stage", "tracking_uri"]
