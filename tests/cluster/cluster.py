"""Clusters for tests: Slurm, or hosts with ssh, on namespaces of this machine (as root)."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from support import ROOT, check, finish, wait_for  # noqa: E402

# Two ranks make the same bits as one (tests/e2e/identity.py). The machine has fewer cores than the cluster claims.
BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16]
SECONDS = 180
PAUSE = 0.5  # between two questions to Slurm, each of which starts several processes


class Hosts:
    """Hosts n0, n1, … and ctl."""

    def __init__(self, folder):
        self.folder = folder

    def command(self, host, *words):
        return [self.folder / "bin" / "on", host, *map(str, words)]

    def on(self, host, *words, expect=0, **options):
        done = subprocess.run(self.command(host, *words), capture_output=True, text=True, timeout=SECONDS, **options)
        check(expect is None or done.returncode == expect,
              f"{words} on {host}: exit code {done.returncode}, expected {expect}\n{done.stdout}{done.stderr}")
        return done.stdout

    def link(self, host, state):
        """Takes the link between this host and all others down or up, at the other end."""
        self.on("ctl", "ip", "link", "set", host.replace("n", "v"), state)

    def processes(self, host, name):
        """Returns the ids of processes whose program has this name."""
        pids = subprocess.run([self.folder / "bin" / "pids", host], capture_output=True, text=True, check=True).stdout
        return [int(pid) for pid in pids.split() if name == program_of(pid)]


def program_of(pid):
    try:
        return os.path.basename(pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0])
    except OSError:
        return ""


class Slurm(Hosts):
    def submit(self, folder, script, *arguments, nodes=2, ranks=1, options=(), **environment):
        """Submits a job with `ranks` ranks on each node."""
        environment = dict(os.environ, PIXELBERT_ROOT=str(ROOT), PIXELBERT_POLL_SECONDS="1", **environment)
        return self.on("ctl", "sbatch", "--parsable", *self.resources(nodes, ranks), *options, script, *arguments,
                       cwd=folder, env=environment).strip()

    def resources(self, nodes, ranks):
        return [f"--nodes={nodes}", f"--ntasks-per-node={ranks}", "--gpus-per-node=0", "--cpus-per-task=1", "--time=60"]

    def facts(self, job):
        words = self.on("ctl", "scontrol", "show", "job", "-o", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, job):
        path = pathlib.Path(self.facts(job)["StdOut"])
        return path.read_text() if path.exists() else ""

    def wait(self, job, state="COMPLETED"):
        """Waits for a state, or for the reason of a pending job."""
        def reached():
            facts = self.facts(job)
            ended = facts["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED")
            return ended or state in (facts["JobState"], facts["Reason"])
        self.wait_for(reached, job, state, pause=PAUSE)
        facts = self.facts(job)
        check(state in (facts["JobState"], facts["Reason"]), f"expected {state}, found {facts}; log:\n{self.log(job)}")

    def wait_for_step(self, job, run, step):
        path = run / "metrics.jsonl"
        self.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= step, job, f"at step {step}")

    def wait_for(self, condition, job, what, **options):
        try:
            wait_for(condition, f"job {job} to be {what}", SECONDS, **options)
        except AssertionError as error:
            message = f"{error}: {self.facts(job)}; log:\n{self.log(job)}"
            self.clear()
            raise AssertionError(message) from None

    def preempt(self, seconds=1):
        """Preempts with a job that has priority and needs every node."""
        nodes = self.on("ctl", "sinfo", "-h", "-p", "urgent", "-o", "%D").strip()
        return self.on("ctl", "sbatch", "--parsable", "--partition=urgent", "--exclusive", f"--nodes={nodes}",
                       "--output=/dev/null", "--wrap", f"sleep {seconds}").strip()

    def kill_all(self, host):
        pids = subprocess.run([self.folder / "bin" / "pids", host], capture_output=True, text=True, check=True).stdout
        for pid in map(int, pids.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_node(self, number):
        subprocess.run([HERE / "slurm_cluster.sh", "node", self.folder, str(number)], check=True, timeout=60)

    def configure(self, key, value):
        path = self.folder / "slurm.conf"
        lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}=")]
        path.write_text("\n".join(([f"{key}={value}"] if value else []) + lines) + "\n")
        self.on("ctl", "scontrol", "reconfigure")

    def clear(self):
        self.on("ctl", "scancel", "--user=root")
        self.on("ctl", "scontrol", "update", "nodename=ALL", "state=resume", expect=None)
        wait_for(lambda: not self.on("ctl", "squeue", "-h", "-t", "running,completing"), "an empty cluster", 60,
                 pause=PAUSE)


@contextlib.contextmanager
def cluster(kind, script, *arguments):
    # Short: Slurm and PMIx put UNIX sockets below it, whose names have at most 107 characters.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pb-"))
    script = HERE / script
    # It is removed when the pipe closes, also if this process and its children are killed after a timeout.
    remove = 'read -r; "$0" down "$1"; rm -rf "$1"'
    remover = subprocess.Popen(["setsid", "--fork", "bash", "-c", remove, script, folder], stdin=subprocess.PIPE)
    try:
        subprocess.run([script, "up", folder, *map(str, arguments)], check=True, timeout=120)
        yield kind(folder)
    finally:
        remover.stdin.close()
        wait_for(lambda: not folder.exists(), f"{script.name} down", 60)


def slurm_cluster(nodes):
    return cluster(Slurm, "slurm_cluster.sh", nodes)


class SshHosts(Hosts):
    """Hosts n0, n1, … that reach each other by ssh."""

    def start(self, hosts, *arguments, **environment):
        """Calls `launch/hosts.sh` on n0, with one rank on each of the first `hosts`."""
        hostfile = self.folder / f"hostfile-{hosts}"
        hostfile.write_text("".join(f"n{i} slots=1\n" for i in range(hosts)))
        environment = {**os.environ, "OMPI_MCA_plm_rsh_agent": str(self.folder / "bin/ssh"),
                       "PIXELBERT_TCP_INTERFACE": "eth0", **environment}
        command = self.command("n0", ROOT / "launch/hosts.sh", "--hostfile", hostfile, "pixelbert", *arguments)
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def pixelbert(self, hosts, *arguments, expect=0, **environment):
        return finish(self.start(hosts, *arguments, **environment), expect)

    def limit(self, host, rate):
        """Limits what the host sends to a rate in the notation of tc (100mbit); None: no limit."""
        self.on(host, "tc", "qdisc", "del", "dev", "eth0", "root", expect=None)
        if rate:
            self.on(host, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "256kb", "latency",
                    "50ms")


def ssh_hosts(number):
    return cluster(SshHosts, "ssh_hosts.sh", number)
