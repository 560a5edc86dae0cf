"""allreduce_reference.py FLOATS ROUNDS, under torchrun: gloo sums FLOATS float32 over the ranks.

Rank 0 prints for each round the seconds of one tensor and of buckets of 25 MiB that are started together. The first
round is a warm-up and not printed.
"""

import sys
import time

import torch
from torch import distributed

floats, rounds = map(int, sys.argv[1:])
torch.set_num_threads(1)
distributed.init_process_group("gloo")
gradients = torch.ones(floats)


def seconds(tensors):
    gradients.fill_(1)
    distributed.barrier()
    start = time.perf_counter()
    for work in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
        work.wait()
    return time.perf_counter() - start


for round in range(rounds + 1):
    one, buckets = seconds([gradients]), seconds(gradients.split((25 << 20) // 4))
    assert gradients.eq(distributed.get_world_size()).all()
    if distributed.get_rank() == 0 and round > 0:
        print(f"{one:.6f} {buckets:.6f}", flush=True)
distributed.destroy_process_group()
