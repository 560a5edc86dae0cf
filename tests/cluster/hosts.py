"""launch/hosts.sh over ssh, on hosts with a network between them: the same training as on one."""

import pathlib
import statistics
import sys

from cluster import BATCH, ssh_hosts
from support import (check, check_same_weights, losses, make_scenes, metrics, pixelbert, pretrain, run_tests,
                     temporary_folder)

FOUR = ["--data.global-batch", 32, "--data.micro-batch", 8]  # micro-batches a step: one for each of four ranks
hosts = shards = None


def check_same(one, other, what):
    check(losses(one) == losses(other), f"{what}: losses {losses(one)} and {losses(other)}")
    check_same_weights(one, other, what)


def test_two_hosts_give_the_bits_of_one_rank(folder):
    options = [*BATCH, "--train.steps", 8]
    one, two = folder / "one", folder / "two"
    pixelbert(*pretrain(one, shards, *options))
    output = hosts.pixelbert(2, *pretrain(two, shards, *options))
    for line in ("host n0, rank 0: ", "host n1, rank 1: ", "between hosts: eth0"):
        check(line in output, f"expected '{line}':\n{output}")
    check_same(one, two, "one rank and two hosts")


def test_four_hosts_give_the_bits_of_one_rank(folder):
    options = [*FOUR, "--train.steps", 8]
    one, four = folder / "one", folder / "four"
    pixelbert(*pretrain(one, shards, *options))
    hosts.pixelbert(4, *pretrain(four, shards, *options))
    check_same(one, four, "one rank and four hosts")


def test_growing_and_shrinking_changes_nothing(folder):
    whole, run = folder / "whole", folder / "run"
    pixelbert(*pretrain(whole, shards, *FOUR, "--train.steps", 12))
    for number, steps in ((2, 4), (4, 8), (1, 12)):
        output = hosts.pixelbert(number, *pretrain(run, shards, *FOUR, "--train.steps", steps))
        check(steps == 4 or f"step {steps - 4}, epoch" in output, f"resumed on {number} hosts:\n{output}")
    check_same(whole, run, "2, 4 and 1 hosts")


def median_phases(run):
    """Uses the steps after the first, which opens connections, and before the last, which saves."""
    steps = [line["phase_seconds"] for line in metrics(run)][1:-1]
    return {phase: statistics.median(step[phase] for step in steps) for phase in steps[0]}


def test_a_slow_network_slows_the_reduction_and_nothing_else(folder):
    options = [*BATCH, "--train.steps", 6]
    fast, slow = folder / "fast", folder / "slow"
    hosts.pixelbert(2, *pretrain(fast, shards, *options))
    for host in ("n0", "n1"):
        hosts.limit(host, "300mbit")
    try:
        hosts.pixelbert(2, *pretrain(slow, shards, *options))
    finally:
        for host in ("n0", "n1"):
            hosts.limit(host, None)
    check(losses(fast) == losses(slow), "the network changes no number")
    before, after = median_phases(fast), median_phases(slow)
    print(f"  seconds a step: {before}, at 300 Mbit/s: {after}", flush=True)
    # 45 MB of gradients each way take 1.2 s. Part of it happens during backward.
    reduction = sum(after[phase] - before[phase] for phase in ("reduce_wait", "backward"))
    check(reduction > 0.6, f"the reduction takes {reduction:.2f} s longer, expected more than 0.6")
    for phase in ("data", "forward", "optimizer", "checkpoint", "other"):
        longer = after[phase] - before[phase]
        check(longer < 0.2 * reduction, f"{phase} takes {longer:.3f} s longer, the reduction {reduction:.3f}")


def test_a_failing_rank_names_its_host(folder):
    output = hosts.pixelbert(2, *pretrain(folder / "run", shards, *BATCH, "--train.steps", 100000), expect=1,
                             PIXELBERT_FAULTS="throw@3/1")
    check("[rank 1] on host n1" in output, output)


def test_a_network_that_is_not_there(folder):
    output = hosts.pixelbert(2, *pretrain(folder / "run", shards, *BATCH), expect=2, PIXELBERT_TCP_INTERFACE="ib7")
    check("PIXELBERT_TCP_INTERFACE: no interface ib7 on n0" in output and "eth0" in output, output)


def test_settings_reach_the_ranks_on_other_hosts(_):
    for name in ("HDF5_USE_FILE_LOCKING", "NCCL_IB_DISABLE"):
        output = hosts.pixelbert(2, name, PIXELBERT="/usr/bin/printenv", **{name: "FALSE"})
        check(output.split() == ["FALSE", "FALSE"], f"{name}: {output}")


if __name__ == "__main__":
    with temporary_folder() as common, ssh_hosts(4) as hosts:
        shards = make_scenes(pathlib.Path(common) / "shards")
        run_tests(sys.modules[__name__])
