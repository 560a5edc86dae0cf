#!/usr/bin/env bash
# slurm_cluster.sh up DIR NODES [CPUS_PER_NODE]   a Slurm cluster on the hosts of hosts.sh, all of its state in DIR
# slurm_cluster.sh node DIR I                     starts the daemon of node I again
# slurm_cluster.sh down DIR
#
# DIR/bin/on ctl sbatch job.sh; DIR/bin/on n1 hostname. Two partitions: jobs of `urgent` preempt those of `train`, which
# are warned (--signal) 20 seconds before. Each node has two GPUs in name only.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=$1
mkdir -p "$2"
dir=$(CDPATH='' cd "$2" && pwd)
on=$dir/bin/on

start() {  # name host program arguments…
  local name=$1
  shift
  "$on" "$@" </dev/null >"$dir/log/$name.out" 2>&1 &
}

start_node() { start "slurmd-n$1" "n$1" slurmd -D -N "n$1"; }

write_configuration() {
  local nodes=$1 cpus=$2 i
  cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=ctl(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired: two minutes by default.
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldParameters=preempt_send_user_signal
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
TmpFS=$dir/tmp-%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=50000,batch_sched_delay=0,requeue_delay=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
KillWait=5
SlurmdTimeout=15
SlurmctldTimeout=15
GresTypes=gpu
NodeName=DEFAULT CPUs=$cpus Sockets=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
CONF
  for ((i = 0; i < nodes; i++)); do echo "NodeName=n$i NodeAddr=10.77.0.$((10 + i))"; done >>"$dir/slurm.conf"
  cat >>"$dir/slurm.conf" <<CONF
PartitionName=train Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
  # Slurm sets CUDA_VISIBLE_DEVICES only for files of this name.
  for i in 0 1; do [ -e "$dir/dev/nvidia$i" ] || mknod "$dir/dev/nvidia$i" c 1 3; done
  printf 'AutoDetect=off\nName=gpu File=%s/dev/nvidia[0-1]\n' "$dir" >"$dir/gres.conf"
}

wait_until() {  # seconds what command…
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if [ $SECONDS -ge $end ]; then
      echo "slurm_cluster.sh: waited in vain until $what; the daemons said:" >&2
      tail -n 20 "$dir"/log/*.out >&2
      exit 1
    fi
    sleep 0.1
  done
}
all_idle() { [ "$(timeout 10 "$on" ctl sinfo -h -N -p train -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$1" ]; }

up() {
  local nodes=$1 cpus=$2 i
  mkdir -p "$dir"/{munge,state,log,run,dev}
  chmod 755 "$dir" "$dir/munge"
  "$here/hosts.sh" up "$dir" "$nodes"
  (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/munge.key")
  start munged ctl /usr/sbin/munged --foreground --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.sock" \
    --pid-file="$dir/munge/munged.pid" --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/munged.seed"
  write_configuration "$nodes" "$cpus"
  # Every command of Slurm finds this cluster.
  sed -i "2i export SLURM_CONF=$dir/slurm.conf" "$on"
  wait_until 20 "munged listens" test -S "$dir/munge/munge.sock"
  start slurmctld ctl slurmctld -D -i
  for ((i = 0; i < nodes; i++)); do
    mkdir -p "$dir/spool-n$i" "$dir/tmp-n$i"
    chmod 1777 "$dir/tmp-n$i"
    start_node "$i"
  done
  wait_until 60 "$nodes nodes are idle" all_idle "$nodes"
}

case $command in
  up) up "$3" "${4:-4}" ;;
  node) start_node "$3" ;;
  down) "$here/hosts.sh" down "$dir" ;;
  *) echo "slurm_cluster.sh: expected up DIR NODES, node DIR I or down DIR, found: $*" >&2; exit 2 ;;
esac
