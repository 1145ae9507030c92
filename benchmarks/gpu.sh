#!/usr/bin/env bash
# What contrail does on a GPU: is it right, how fast, with how much memory.
#
#   benchmarks/gpu.sh [--wheels DIR] [options of `python -m benchmarks.gpu`]
#
# --wheels DIR: install the wheels of a folder first, into a folder of their own.
# PYTHON: the interpreter to use (else python3 or python).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$(command -v python3 || command -v python)}
if [ "${1:-}" = --wheels ]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$2"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
    shift 2
fi
# Counting devices by NVML leaves CUDA untouched, so that processes can be forked afterwards.
export PYTORCH_NVML_BASED_CUDA_CHECK=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1
exec "$python" -m benchmarks.gpu "$@"
