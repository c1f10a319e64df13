"""MLflow: one run per pipeline run or DVC experiment, a nested run per stage.

Only parameters, metrics, content hashes and the Git commit are recorded; passwords and query values of URIs are masked.
MLflow takes seconds to import and to open: only `store` and `completion` do.
"""

import logging
import os

# Read by MLflow when it is imported: send no usage data, leave logging as the command has set it up.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_CONFIGURE_LOGGING": "false"}
# A server that is down is noticed within seconds, one that restarts is waited for. The user's settings come first.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs an error that is raised as well
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # so does this one
