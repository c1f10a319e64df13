#!/usr/bin/env bash
# Make requirements/{cpu,gpu,library}.txt from pyproject.toml. uv keeps the pins of the existing file where they still fit.
set -euo pipefail
python -m pip install --quiet uv
compile=(uv pip compile --quiet --no-annotate --no-header pyproject.toml)
links=(${PIP_FIND_LINKS:+--find-links "$PIP_FIND_LINKS"})

# See setup.sh for the three packages that the CPU lock leaves out. The +cpu suffix goes, so that pip also accepts PyPI's
# build where no CPU build can be had.
"${compile[@]}" --extra dev --extra cpu --python-version 3.11 "${links[@]}" -o requirements/cpu.txt \
    --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec >/dev/null
sed -i 's/+cpu$//' requirements/cpu.txt
"${compile[@]}" --extra dev --extra gpu --python-version 3.12 -o requirements/gpu.txt >/dev/null

# The library alone: those of the CPU lock's packages that it needs, and no CUDA.
library=$(mktemp)
trap 'rm -f "$library"' EXIT
cp requirements/cpu.txt "$library"
"${compile[@]}" --python-version 3.11 -o "$library" --no-emit-package triton >/dev/null # triton is CUDA's here, too
grep -Fxf "$library" requirements/cpu.txt >requirements/library.txt
shared=$(cut -d= -f1 "$library" | grep -Fxc -f <(cut -d= -f1 requirements/cpu.txt))
if [ "$shared" -ne "$(wc -l <requirements/library.txt)" ]; then
    echo "lock: the library and the pipeline need different versions of a package" >&2
    exit 1
fi
