#!/usr/bin/env python3
"""Compares the step that `pixelbert plan` predicts with the measured one: benchmarks/replay.py [--ranks 2 3 4]
[--mbit 200 400 800] [--precision float32 bf16] [--rounds N] [--out FILE.json]

Each rank is a host of its own, a network namespace whose link is limited by tc. For each number of ranks and each
precision, a run without a limit calibrates, and runs at each limit are measured; a round does all of it once. Needs root
and sshd, as the tests with the label cluster do.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".deps/venv"
if Path(sys.prefix) != VENV and (VENV / "bin/python").exists():
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])
os.environ.setdefault("PIXELBERT", str(ROOT / "build/bin/pixelbert"))
os.environ.setdefault("PIXELBERT_SHARED_DATA", str(ROOT.parent / "shared/data"))
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(ROOT / "tests/cluster"))

from cluster import ssh_hosts  # noqa: E402
from support import PIXELBERT, make_scenes, metrics, pretrain  # noqa: E402

# 45 MB of gradients in ten buckets. Twelve micro-batches: equal work for 2, 3 and 4 ranks, but not one node of the tree for
# each of 2 ranks.
JOB = ["--data.global-batch", 96, "--data.micro-batch", 8, "--comm.bucket-mib", 5]
STEPS_OF_CALIBRATION, STEPS, SKIPPED = 16, 9, 2
STREAM = """
import socket, sys, time
if sys.argv[1] == "receive":
    connection, _ = socket.create_server(("", 5999)).accept()
    size, begin = 0, None
    while piece := connection.recv(1 << 20):
        begin = begin or time.monotonic()
        size += len(piece)
    print(size * 8e-6 / (time.monotonic() - begin))
else:
    time.sleep(0.5)
    connection = socket.create_connection((sys.argv[2], 5999))
    end = time.monotonic() + 2
    while time.monotonic() < end: connection.sendall(b"x" * (1 << 18))
"""


def limit(hosts, ranks, mbit):
    for rank in range(ranks):
        hosts.limit(f"n{rank}", f"{mbit}mbit" if mbit else None)


def stream_mbit(hosts):
    """Returns what a TCP connection carries: headers take some of the limit."""
    receiver = subprocess.Popen(hosts.command("n0", sys.executable, "-c", STREAM, "receive"), stdout=subprocess.PIPE, text=True)
    hosts.on("n1", sys.executable, "-c", STREAM, "send", "n0")
    return float(receiver.communicate(timeout=60)[0])


def train(hosts, ranks, command):
    """Returns the steps after the first ones, without the last, which saves."""
    hosts.pixelbert(ranks, *command)
    return metrics(command[command.index("--run.dir") + 1])[SKIPPED:-1]


def predicted(command, ranks, mbit, calibration):
    output = subprocess.run([PIXELBERT, "plan", *map(str, command[1:]), "--nodes", str(ranks), "--ranks-per-node", "1",
                             "--network-gbit", str(mbit / 1000), "--calibration", str(calibration)],
                            check=True, capture_output=True, text=True).stdout
    found = re.search(r": ([\d.e+]+) (ms|s) a step", output)
    return float(found[1]) * (1e-3 if found[2] == "ms" else 1)


def seconds_of(step):
    return step["seconds"] - step["phase_seconds"]["checkpoint"]


def one_round(hosts, ranks, precision, rates, folder, shards, number):
    options = [*JOB, "--train.precision", precision, "--train.steps"]
    limit(hosts, ranks, None)
    calibration = folder / f"calibration-{precision}-{ranks}-{number}"
    free = statistics.median(map(seconds_of, train(hosts, ranks, pretrain(calibration, shards, *options, STEPS_OF_CALIBRATION))))
    for mbit, carried in rates.items():
        limit(hosts, ranks, mbit)
        command = pretrain(folder / f"{precision}-{ranks}-{mbit}-{number}", shards, *options, STEPS)
        steps = train(hosts, ranks, command)
        phases = {phase: statistics.median(step["phase_seconds"][phase] for step in steps)
                  for phase in ("forward", "backward", "reduce_wait")}
        yield dict(precision=precision, ranks=ranks, mbit=mbit, carried_mbit=carried, without_limit=free,
                   measured=statistics.median(map(seconds_of, steps)), phases=phases,
                   predicted=predicted(command, ranks, carried, calibration), load=os.getloadavg()[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--mbit", type=int, nargs="+", default=[200, 400, 800])
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    print("precision  ranks  Mbit/s  without limit  measured  predicted   ratio   load")
    with tempfile.TemporaryDirectory(prefix="pixelbert-replay-") as folder:
        folder = Path(folder)
        shards = make_scenes(folder / "shards", 400)
        with ssh_hosts(max(arguments.ranks)) as hosts:
            rates = {}
            for mbit in arguments.mbit:
                limit(hosts, 2, mbit)
                rates[mbit] = stream_mbit(hosts)
            for number in range(arguments.rounds):
                for precision in arguments.precision:
                    for ranks in arguments.ranks:
                        for row in one_round(hosts, ranks, precision, rates, folder, shards, number):
                            rows.append(row)
                            print(f"{precision:9}  {ranks:5}  {row['carried_mbit']:6.0f}  {row['without_limit']:11.2f} s"
                                  f"  {row['measured']:6.2f} s  {row['predicted']:7.2f} s  {row['predicted'] / row['measured']:6.3f}"
                                  f"  {row['load']:5.1f}", flush=True)
                            if arguments.out:
                                arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


main()
