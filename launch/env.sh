# shellcheck shell=bash
# Settings of Open MPI, NCCL and LibTorch: sourced by the launch scripts and the batch scripts, and the only place that
# sets OMPI_MCA_*, NCCL_*, TORCH_* and PYTORCH_* for the ranks that they start. Variables that are already set take
# precedence.
#
#   PIXELBERT_TCP_INTERFACE   the network that ranks on different hosts use: an interface (ib0, eth0) or, without GPUs,
#                             a subnet (10.0.0.0/24). Empty: MPI and NCCL try all they find, and may choose a slow one.
#   PIXELBERT_ONE_HOST        not empty: all ranks are on this host (local.sh)

# A rank that Slurm has bound to its cores would take these for the whole host's and divide them once more.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}"

# In containers the only user is root, and mpirun asks twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# More ranks than cores are allowed (a trial on a laptop), and a rank that waits lets others run.
: "${OMPI_MCA_rmaps_base_oversubscribe:=1}" "${OMPI_MCA_mpi_yield_when_idle:=1}"
# mpirun would bind each rank to one core; ours have threads for loading, computing and communicating.
: "${OMPI_MCA_hwloc_base_binding_policy:=none}"
# Slurm sends SIGTERM to every process of a job that it preempts or cancels. mpirun's daemons ignore it so that the ranks can save.
: "${OMPI_MCA_orte_launch_agent:=env --block-signal=TERM orted}"
# In a retry the cores may still belong to a job step that died with its node's slurmd.
: "${OMPI_MCA_plm_slurm_args:=--overlap}"
# Two connections between ranks of two hosts. With one, two hosts that sent to each other used half of a link: 46 MB each way took 3.7 s
# at 200 Mbit/s, and 2.1 s with two. A probable cause: MPI sends a large message when the receiver asks for it, and the request waits
# behind what the receiver itself sends.
: "${OMPI_MCA_btl_tcp_links:=2}"
export OMPI_MCA_btl_tcp_links
export OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_mpi_yield_when_idle OMPI_MCA_hwloc_base_binding_policy
export OMPI_MCA_orte_launch_agent OMPI_MCA_plm_slurm_args

# Within a host messages go through memory; looking for Omni-Path and InfiniPath cards alone takes a fifth of a second.
if [ -n "${PIXELBERT_ONE_HOST:-}" ]; then export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}"; fi

# Only what NCCL cannot find out itself. Between hosts it uses all InfiniBand or RoCE cards, and TCP if there are none.
# NCCL_IB_HCA chooses among the cards; NCCL_IB_DISABLE=1 selects TCP if the cards are not connected.
: "${NCCL_DEBUG:=WARN}"  # NCCL prints what failed; its error code alone explains little
export NCCL_DEBUG

# On GPUs. cuDNN makes about 60 plans of 200 KiB for each size of an image, forward and backward on a thread each, and
# LibTorch would keep 10,000 on each thread: up to 4 GiB of the host's memory. This limit takes 0.8 GiB
# (src/plan/memory.cpp counts it) and holds the plans of some 50 sizes.
: "${TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT:=2000}"
# Tensors of ever new sizes leave gaps in blocks of a fixed size, until a large one finds no place.
[ -n "${PYTORCH_CUDA_ALLOC_CONF:-}" ] || : "${PYTORCH_ALLOC_CONF:=expandable_segments:True}"
export TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT ${PYTORCH_ALLOC_CONF:+PYTORCH_ALLOC_CONF}

if [ -n "${PIXELBERT_TCP_INTERFACE:-}" ]; then
  case $PIXELBERT_TCP_INTERFACE in
    */*) ;;  # NCCL knows interfaces only
    *)
      if [ ! -e "/sys/class/net/$PIXELBERT_TCP_INTERFACE" ]; then
        echo "PIXELBERT_TCP_INTERFACE: no interface $PIXELBERT_TCP_INTERFACE on $(hostname), which has" /sys/class/net/* |
          sed 's|/sys/class/net/||g' >&2
        return 2
      fi
      # NCCL connects to its peers over TCP even if the data takes another way. Without "=" eth1 would also be eth10.
      export NCCL_SOCKET_IFNAME="=$PIXELBERT_TCP_INTERFACE"
      ;;
  esac
  export OMPI_MCA_btl_tcp_if_include=$PIXELBERT_TCP_INTERFACE OMPI_MCA_oob_tcp_if_include=$PIXELBERT_TCP_INTERFACE
fi
