"""The failures of tests/e2e that meet the device, on simulated GPUs.

Left out are those that end before a device is chosen (wrong usage, damaged or missing shards), and those that the loader or the
system around the program decides (a loader that hangs, shared memory, descriptors, a network, a launcher, a run folder that is
taken over).
"""

import sys

import device  # noqa: F401
import support
from faults import (test_a_full_disk_is_reported_and_training_continues, test_a_gradient_that_is_not_finite_is_skipped_by_all,
                    test_a_loss_that_is_not_finite_is_skipped_by_all, test_a_rank_that_throws_ends_the_job,
                    test_a_second_job_on_a_run_folder_is_refused, test_phases_add_up_to_the_step)
from watchdog import (test_a_collective_left_out, test_a_killed_rank, test_a_rank_that_outlives_rank_0, test_a_stopped_rank)

support.SMALL[support.SMALL.index("--train.device") + 1] = "cuda"
support.run_tests(sys.modules[__name__])
