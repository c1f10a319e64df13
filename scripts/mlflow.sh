#!/usr/bin/env bash
# Serve the local MLflow store on loopback: mlflow.sh [PORT]. Runs that a server of your own holds are served there already.
set -euo pipefail
port=${1:-5000}
uri=$(python -m memsifter track uri)
case $uri in
http://* | https://*)
    # Without the user and the password that it may hold.
    echo "runs are on your server: $(sed -E 's#://[^/]*@#://#' <<<"$uri")"
    ;;
*)
    # MLflow itself says nothing clear about a taken port, and exits with 0.
    if ! python -c "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).close()" "$port" 2>/dev/null; then
        echo "memsifter: error: port $port cannot be used (taken?); choose another: make mlflow PORT=$((port + 1))" >&2
        exit 1
    fi
    echo "runs table: http://127.0.0.1:$port/#/experiments/1/runs (tick runs, then Compare; Ctrl-C stops the server)"
    # By the environment: the URI of a database may hold a password, and everybody on the machine sees command lines.
    MLFLOW_BACKEND_STORE_URI=$uri exec mlflow server --host 127.0.0.1 --port "$port"
    ;;
esac
