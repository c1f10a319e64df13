#!/usr/bin/env bash
# Compose params.yaml, run the pipeline, then complete the MLflow record. repro.sh [KEY=VALUE …]; DVC_ARGS holds
# arguments for `dvc repro`.
#
# Without KEY=VALUE params.yaml stays, and must be what configs/ composes to for the overrides in its head.
set -uo pipefail
read -r -a dvc_args <<<"${DVC_ARGS:-}"
check=(--check)
# Outs that come from a remote, and single stages, need no GPU here or say so themselves.
[ -n "${DVC_ARGS:-}" ] && check+=(--without-gpu)
python -m memsifter compose "${check[@]}" -- "$@" || exit

MEMSIFTER_RUN=$(uname -n):$$:$(date +%s)
export MEMSIFTER_RUN
# Beside the records, whose times it is compared with: the clocks of two file systems may differ.
cache=${MEMSIFTER_CACHE:-.cache/memsifter}
mkdir -p "$cache" && started=$(mktemp "$cache/repro.XXXXXX") || exit
trap 'rm -f "$started"' EXIT
dvc repro ${dvc_args[@]+"${dvc_args[@]}"}
status=$?
# The folder is as old as its newest record: if no stage ran there is nothing to complete.
if [ "$cache/tracking/records" -nt "$started" ]; then python -m memsifter track sync || status=$?; fi
# A summary that was written just now has already been shown.
[ "$status" -eq 0 ] && [ -z "${DVC_ARGS:-}" ] && [ reports/summary.md -ot "$started" ] && cat reports/summary.md
exit "$status"
