#!/usr/bin/env bash
# Serve the local MLflow store on loopback; runs that a server of your own holds are served there already.
set -euo pipefail
uri=$(python -m memsifter.tracking uri)
case $uri in
http://* | https://*)
    echo "runs are on your server: $uri"
    ;;
*)
    echo "runs table: http://127.0.0.1:5000/#/experiments/1/runs (tick runs, then Compare; Ctrl-C stops the server)"
    exec mlflow server --backend-store-uri "$uri" --host 127.0.0.1 --port 5000
    ;;
esac
