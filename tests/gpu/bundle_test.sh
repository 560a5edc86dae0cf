#!/usr/bin/env bash
# Runs a bundle as the other machine would, where LibTorch's folder is the simulated device's: no other variables, no Open MPI
# of the system (which needs root for its own mounts), and no GPU memory that expands, which needs a driver.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed() { echo "bundle_test.sh: $1" >&2; exit 1; }

"$here/bundle.sh" "$dir/bundle/"
if "$here/bundle.sh" "$dir/bundle" 2>"$dir/again"; then failed "a second bundle took the folder of the first"; fi
grep -q "exists" "$dir/again" || failed "a second bundle: $(cat "$dir/again")"

as_on_another_machine() {
  unshare --mount bash -c 'for folder in /usr/lib/*/openmpi /usr/lib/*/pmix2 /usr/share/openmpi; do
      [ ! -d $folder ] || mount -t tmpfs none $folder
    done
    exec env -i PATH=/usr/bin:/bin OMP_NUM_THREADS=1 PIXELBERT_QUICK=1 PYTORCH_ALLOC_CONF=expandable_segments:False "$@"' _ "$@"
}
as_on_another_machine PIXELBERT_TORCH_LIB="$PIXELBERT_BUILD/simulated_cuda" "$dir/bundle/run.sh" "$dir/out"
for expected in "^machine .*simulated GPU" "^attention .*not measured" "^retrieval, float32, .*losses within" \
  "^r50 as is .*% of peak, [0-9.]* GB" "^memory of plan .*planned for tensors" " checks, 0 failed"; do
  grep -q "$expected" "$dir/out/table.txt" || failed "no '$expected' in the table"
done

# A check that fails is seen. With a folder of libraries that has no CUDA, there is no GPU.
mkdir "$dir/cpu"
ln -s "$PIXELBERT_BUILD"/simulated_cuda/{libtorch_cpu,libc10,libgomp,libcupti}.so* "$dir/cpu"
if as_on_another_machine PIXELBERT_TORCH_LIB="$dir/cpu" timeout 300 "$dir/bundle/run.sh" "$dir/without"; then failed "passed without a GPU"; fi
grep -q "^machine .*FAILED" "$dir/without/table.txt" || failed "does not say that there is no GPU"
grep -q "^2 checks, 1 failed" "$dir/without/table.txt" || failed "went on without a GPU"
