#include "plan/batch_script.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace pixelbert::plan {
namespace {

constexpr double kMinute = 60, kHour = 3600, kDay = 24 * kHour;

// Quotes a word for a shell, if the shell would interpret anything in it.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

std::string slurm_time(double seconds) {
  const auto minutes = static_cast<std::int64_t>(std::ceil(seconds / kMinute));
  return fmt::format("{:02}:{:02}:00", minutes / 60, minutes % 60);
}

}  // namespace

std::string batch_script(const BatchJob& job) {
  // A quarter more than expected, and time to start. After a day the next job continues.
  const double limit = std::min(1.25 * job.expected_seconds + 10 * kMinute, kDay);
  const double warning = std::clamp(std::ceil(2 * job.saving_seconds), 120.0, limit / 2);
  std::string text =
      fmt::format("#!/usr/bin/env bash\n#SBATCH --job-name={}\n#SBATCH --nodes={}\n", job.command, job.nodes);
  text += fmt::format("#SBATCH --ntasks-per-node={}\n", job.ranks_per_node);
  if (job.gpus_per_node > 0) text += fmt::format("#SBATCH --gpus-per-node={}\n", job.gpus_per_node);
  text += fmt::format("#SBATCH --cpus-per-task={}\n", job.cores_per_rank);
  text +=
      fmt::format("#SBATCH --mem={}G\n", static_cast<std::int64_t>(std::ceil(1.15 * job.bytes_per_node / (1 << 30))));
  text += fmt::format("#SBATCH --time={}\n", slurm_time(limit));
  text += fmt::format("#SBATCH --signal=B:USR1@{:.0f}\n#SBATCH --requeue\n", warning);
  text +=
      fmt::format("#SBATCH --chdir={}\n#SBATCH --output=%x-%j.log\n#SBATCH --open-mode=append\n\n", quoted(job.folder));
  text += fmt::format("exec {} {}", quoted(job.root + "/slurm/job.sh"), job.command);
  for (const std::string& argument : job.arguments) text += " " + quoted(argument);
  return text + "\n";
}

}  // namespace pixelbert::plan
