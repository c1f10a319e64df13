#!/usr/bin/env bash
# Serve the local MLflow store on loopback (PORT=5000); runs that a server of your own holds are served there already.
set -euo pipefail
uri=$(python -m memsifter.tracking uri)
port=${PORT:-5000}
case $uri in
http://* | https://*)
    echo "runs are on your server: $uri"
    ;;
*)
    # MLflow itself ends with code 0 when the port is taken.
    if ! python -c "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).close()" "$port" 2>/dev/null; then
        echo "mlflow: port $port is taken or no port; choose another: PORT=5001 make mlflow" >&2
        exit 1
    fi
    echo "runs table: http://127.0.0.1:$port/#/experiments/1/runs (tick runs, then Compare; Ctrl-C stops the server)"
    exec mlflow server --backend-store-uri "$uri" --host 127.0.0.1 --port "$port"
    ;;
esac
