#!/usr/bin/env bash
# Measures the GPU of this machine in less than seven minutes. Made by `stages/benches/gpu/pack.sh`; the folder may lie
# anywhere.
#
#   ./run.sh                       everything, in WGSL and, where that program is here, in SPIR-V
#   ./run.sh --seconds 200         in less time: what does not fit is left out, and said
#   ./run.sh --device wgpu:1       another card; --python PYTHON another Python for the peers
#   ./run.sh constants walls       some sections alone
#
# OUT names the folder for gpu.jsonl (a line a number), gpu.md (the table) and gpu.log; default: where you are.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-$PWD}
mkdir -p "$out"

programs=$here/programs
if [ ! -x "$programs/gpu" ] && ! mkdir -p "$programs" 2>/dev/null || [ ! -w "$programs" ]; then
  programs=$(mktemp -d)
fi
if [ ! -x "$programs/gpu" ]; then
  if command -v xz >/dev/null; then
    xz -dc "$here/programs.tar.xz" | tar -C "$programs" -xf -
  else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' \
      "$here/programs.tar.xz" "$programs"
  fi
fi

# Wheels are archives that Python reads as they lie, but for packages that open files of their own.
if [ -d "$here/wheels" ]; then
  for wheel in "$here"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$programs/site"
  done
  export PYTHONPATH="$programs/site${PYTHONPATH:+:$PYTHONPATH}"
fi
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
spirv=()
[ ! -x "$programs/gpu-spirv" ] || spirv=(--spirv "$programs/gpu-spirv")
exec "$programs/gpu" --measure --out "$out/gpu.jsonl" --peers "$here/peers" ${spirv[@]+"${spirv[@]}"} "$@"
