"""Training is the same at any number of ranks."""

import json
import subprocess
import sys

from support import ROOT, check, check_same_weights, losses, make_scenes, pixelbert, pretrain, run_tests, weights


def train(folder, ranks, micro_batch, steps=20):
    run = folder / f"run-{ranks}-{micro_batch}"
    shards = folder / "shards"
    if not shards.exists():
        make_scenes(shards)
    pixelbert(*pretrain(run, shards, "--data.global-batch", 32, "--data.micro-batch", micro_batch, "--train.steps", steps),
              ranks=ranks)
    return run


def test_one_and_two_ranks_give_the_same_bits(folder):
    # With two micro-batches, one rank adds their gradients as two ranks do, so even the rounding is the same.
    one, two = train(folder, 1, 16), train(folder, 2, 16)
    check(len(losses(one)) == 20, "20 steps")
    check(losses(one) == losses(two), f"losses {losses(one)} and {losses(two)}")
    check_same_weights(one, two, 0, "1 and 2 ranks")
    first, second = weights(one, "optimizer.safetensors"), weights(two, "optimizer.safetensors")
    check(all(first[name].equal(second[name]) for name in first), "optimizer state of 1 and 2 ranks")


def test_three_and_four_ranks_agree_with_one(folder):
    # With four micro-batches, (a+b)+(c+d) on two ranks is not ((a+b)+c)+d on one in floating point, and AdamW's first steps
    # (a gradient over its own size) make a rounding difference near zero as large as the rate. So the first loss, before
    # any update, is equal to the bit, later ones to 1e-3; weights to 5e-3.
    one = train(folder, 1, 8)
    for ranks in (2, 3, 4):
        other = train(folder, ranks, 8)
        check(losses(one)[0] == losses(other)[0], f"first loss of {ranks} ranks")
        for step, (a, b) in enumerate(zip(losses(one), losses(other), strict=True)):
            check(abs(a - b) <= 1e-3 * a, f"{ranks} ranks, step {step + 1}: loss {b}, of one rank {a}")
        check_same_weights(one, other, 5e-3, f"1 and {ranks} ranks")


def test_two_hosts_give_the_same_bits_as_one_rank(folder):
    one = train(folder, 1, 16, steps=5)
    run = folder / "two-hosts"
    subprocess.run([ROOT / "tests/mpi/two_hosts.sh", "pixelbert",
                    *map(str, pretrain(run, folder / "shards", "--data.global-batch", 32, "--data.micro-batch", 16,
                                       "--train.steps", 5))], check=True)
    check(losses(one) == losses(run), f"losses {losses(one)} and {losses(run)}")
    check_same_weights(one, run, 0, "one rank and two hosts")


def test_more_ranks_than_micro_batches(folder):
    one, three = train(folder, 1, 16, steps=5), train(folder, 3, 16, steps=5)
    check(losses(one) == losses(three), f"losses {losses(one)} and {losses(three)}")
    check_same_weights(one, three, 0, "1 and 3 ranks, one of them idle")


def test_a_last_step_of_one_pair_whose_picture_is_one_cell(folder):
    """BatchNorm then has one value per channel."""
    shards = make_scenes(folder / "shards", count=5)
    pairs = json.loads((shards / "manifest.json").read_text())["texts"]
    runs = [folder / "one", folder / "two"]
    for ranks, run in enumerate(runs, 1):
        pixelbert(*pretrain(run, shards, "--image.short-side", 32, "--image.long-side", 32, "--data.global-batch",
                            pairs - 1, "--data.micro-batch", pairs // 2, "--train.epochs", 2), ranks=ranks)
    check(len(losses(runs[0])) == 4, f"4 steps, found {losses(runs[0])}")
    check(losses(runs[0]) == losses(runs[1]), f"losses {losses(runs[0])} and {losses(runs[1])}")
    check_same_weights(*runs, 0, "1 and 2 ranks")


run_tests(sys.modules[__name__])
