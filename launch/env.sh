# shellcheck shell=bash
# Settings of Open MPI and NCCL: sourced by the launch scripts and the batch scripts, and the only place that sets
# OMPI_MCA_* and NCCL_*. What the environment already says goes first.
#
#   PIXELBERT_TCP_INTERFACE   the network that ranks on different hosts use: an interface (ib0, eth0) or, without GPUs,
#                             a subnet (10.0.0.0/24). Empty: MPI and NCCL try all they find, and may take a slow one.

# In containers the only user is root, and mpirun asks twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# More ranks than cores are allowed (a trial on a laptop), and a rank that waits lets others run.
: "${OMPI_MCA_rmaps_base_oversubscribe:=1}" "${OMPI_MCA_mpi_yield_when_idle:=1}"
# mpirun would bind each rank to one core; ours have threads for loading, computing and communicating.
: "${OMPI_MCA_hwloc_base_binding_policy:=none}"
export OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_mpi_yield_when_idle OMPI_MCA_hwloc_base_binding_policy

: "${NCCL_DEBUG:=WARN}"
export NCCL_DEBUG

if [ -n "${PIXELBERT_TCP_INTERFACE:-}" ]; then
  export OMPI_MCA_btl_tcp_if_include=$PIXELBERT_TCP_INTERFACE OMPI_MCA_oob_tcp_if_include=$PIXELBERT_TCP_INTERFACE
  case $PIXELBERT_TCP_INTERFACE in
    */*) ;;  # NCCL knows interfaces only
    *) export NCCL_SOCKET_IFNAME=$PIXELBERT_TCP_INTERFACE ;;
  esac
fi
