# shellcheck shell=bash
# Settings of Open MPI and NCCL: sourced by the launch scripts and the batch scripts, and the only place that sets
# OMPI_MCA_* and NCCL_*. What the environment already says goes first.
#
#   PIXELBERT_TCP_INTERFACE   the network that ranks on different hosts use: an interface (ib0, eth0) or, without GPUs,
#                             a subnet (10.0.0.0/24). Empty: MPI and NCCL try all they find, and may take a slow one.
#   PIXELBERT_ONE_HOST        not empty: all ranks are on this host (local.sh)

# In containers the only user is root, and mpirun asks twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# More ranks than cores are allowed (a trial on a laptop), and a rank that waits lets others run.
: "${OMPI_MCA_rmaps_base_oversubscribe:=1}" "${OMPI_MCA_mpi_yield_when_idle:=1}"
# mpirun would bind each rank to one core; ours have threads for loading, computing and communicating.
: "${OMPI_MCA_hwloc_base_binding_policy:=none}"
# Slurm sends SIGTERM to all of a job that it preempts or cancels: the ranks shall save, so mpirun's daemons stay.
: "${OMPI_MCA_orte_launch_agent:=env --block-signal=TERM orted}"
# In a retry the cores may still belong to a step that has died with its node's slurmd.
: "${OMPI_MCA_plm_slurm_args:=--overlap}"
export OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_mpi_yield_when_idle OMPI_MCA_hwloc_base_binding_policy
export OMPI_MCA_orte_launch_agent OMPI_MCA_plm_slurm_args

# Within a host messages go through memory; only to ask for Omni-Path and InfiniPath cards takes a fifth of a second.
if [ -n "${PIXELBERT_ONE_HOST:-}" ]; then export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}"; fi

# Of NCCL only what it cannot find out. Between hosts it takes every InfiniBand or RoCE card there is, and TCP without
# one; NCCL_IB_HCA chooses among the cards, NCCL_IB_DISABLE=1 says TCP where cards are there but not connected.
: "${NCCL_DEBUG:=WARN}"  # NCCL says in a sentence what failed; its error code tells little
export NCCL_DEBUG

if [ -n "${PIXELBERT_TCP_INTERFACE:-}" ]; then
  case $PIXELBERT_TCP_INTERFACE in
    */*) ;;  # NCCL knows interfaces only
    *)
      if [ ! -e "/sys/class/net/$PIXELBERT_TCP_INTERFACE" ]; then
        echo "PIXELBERT_TCP_INTERFACE: no interface $PIXELBERT_TCP_INTERFACE on $(hostname), which has" /sys/class/net/* |
          sed 's|/sys/class/net/||g' >&2
        return 2
      fi
      # NCCL meets its peers over TCP even where the data goes another way. Without "=" eth1 would also be eth10.
      export NCCL_SOCKET_IFNAME="=$PIXELBERT_TCP_INTERFACE"
      ;;
  esac
  export OMPI_MCA_btl_tcp_if_include=$PIXELBERT_TCP_INTERFACE OMPI_MCA_oob_tcp_if_include=$PIXELBERT_TCP_INTERFACE
fi
