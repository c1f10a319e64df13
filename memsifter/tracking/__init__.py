"""MLflow: one parent run per pipeline run or DVC experiment, one child run per stage.

Nothing but parameters, metrics, content hashes and the Git commit is ever recorded; passwords and query strings of URIs
are masked first. MLflow takes seconds to import; `lineage` and `values` do without it.
"""

import logging
import os

# MLflow reads both when it is imported: send no usage data anywhere, and leave logging as the command has set it up.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
# Both report an error that is raised as well, the first one with a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
