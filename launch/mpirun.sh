#!/usr/bin/env bash
# launch/mpirun.sh [options of mpirun] program …
#
# mpirun with the settings of env.sh. SIGTERM and SIGUSR1 ask the ranks, on all hosts, to save a checkpoint and stop;
# on SIGTERM mpirun alone would kill them within a second or two. Ends with the exit code of the ranks.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh" || exit 2

# OMPI_MCA_* goes to other hosts by itself. HDF5_USE_FILE_LOCKING is for file systems without locks.
exports=()
for name in $(compgen -e | grep -E '^(HDF5_|NCCL_|OMP_|PIXELBERT_)'); do exports+=(-x "$name"); done

# SIGTERM is often sent to a whole process group. In the ranks Open MPI unblocks it.
env --block-signal=TERM mpirun "${exports[@]}" "$@" &
job=$!
trap 'interrupted=1; kill -USR1 "$job"' TERM USR1
interrupted=1
while [ "$interrupted" = 1 ]; do  # a trap ends wait
  interrupted=0
  wait "$job"
  code=$?
done
exit "$code"
