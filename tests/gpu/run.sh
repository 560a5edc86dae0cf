#!/usr/bin/env bash
# Checks the GPU half on a machine with a GPU, from a bundle (bundle.sh), in about nine minutes. Prints one table;
# exits with 1 if a check failed.
#
#   DIR/run.sh [OUT]        OUT (default: DIR/out) must be empty; it gets table.txt, log.txt and metrics.jsonl
#
# Needs Python 3 with PyTorch of the version that the program was built with. Variables:
#   PIXELBERT_TORCH_LIB   LibTorch's folder of libraries (default: that of python3's torch)
#   PIXELBERT_QUICK=1     small images, few steps and fewer checks: do the checks themselves work?
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -x "$here/bin/pixelbert" ] || { echo "run.sh: no $here/bin/pixelbert: make a bundle with bundle.sh, and run the script in it" >&2; exit 2; }
if [ -z "${PIXELBERT_TORCH_LIB:-}" ]; then
  torch=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])') ||
    { echo "run.sh: python3 has no torch: set PIXELBERT_TORCH_LIB to a folder with libtorch_cpu.so" >&2; exit 2; }
  PIXELBERT_TORCH_LIB=$torch/lib
fi
libraries=$here/lib:$PIXELBERT_TORCH_LIB
for folder in "$PIXELBERT_TORCH_LIB"/../../nvidia/*/lib; do  # the CUDA wheels beside torch
  [ ! -d "$folder" ] || libraries+=:$(CDPATH='' cd "$folder" && pwd)
done
export LD_LIBRARY_PATH=$libraries OPAL_PREFIX=$here/mpi PATH=$here/mpi/bin:$PATH PIXELBERT=$here/bin/pixelbert
. "$here/launch/env.sh"
exec python3 "$here/checks.py" "$here" "${1:-$here/out}"
