// Writes a script for sbatch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixelbert::plan {

struct BatchJob {
  std::string command;  // pretrain, finetune
  std::vector<std::string> arguments;
  std::string root;    // the project's folder, which has slurm/job.sh
  std::string folder;  // to which paths in the arguments are relative
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 1;
  std::int64_t gpus_per_node = 0;
  std::int64_t cores_per_rank = 1;
  double bytes_per_node = 0;
  double expected_seconds = 0;  // of all that is left to train
  double saving_seconds = 0;    // of one checkpoint and two steps
};
std::string batch_script(const BatchJob& job);

}  // namespace pixelbert::plan
