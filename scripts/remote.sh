#!/usr/bin/env bash
# Make a URL the default DVC remote of this checkout: remote.sh <url> [endpoint]
#
# It is written to .dvc/config.local, which git ignores. Keys are never written: the S3 client reads them from the
# environment (AWS_ACCESS_KEY_ID, …), from ~/.aws, or from the machine's role.
set -euo pipefail
url=${1:-} endpoint=${2:-}
if [ -z "$url" ]; then
    echo "usage: make remote URL=s3://bucket/path [ENDPOINT=https://host]   (or set MEMSIFTER_REMOTE)" >&2
    exit 2
fi
if [[ $url$endpoint == *@* || $url$endpoint == *\?* ]]; then
    echo "remote: the URL holds a user, a password or a query; give keys in the environment (AWS_ACCESS_KEY_ID, …)" >&2
    exit 2
fi
dvc remote add --quiet --local --force --default shared "$url"
if [ -n "$endpoint" ]; then
    dvc remote modify --quiet --local shared endpointurl "$endpoint"
fi
# Hash again what was downloaded: a broken object must never become an out.
dvc remote modify --quiet --local shared verify true
echo "default remote: $url${endpoint:+ at $endpoint} (dvc push, dvc pull, dvc repro --pull)"
