#include "plan/batch_script.h"

#include <gmock/gmock.h>

namespace pixelbert::plan {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

BatchJob example() {
  return {.command = "pretrain",
          .arguments = {"--config", "configs/a b.ini", "--run.dir", "runs/it's"},
          .root = "/opt/pixelbert",
          .folder = "/home/me",
          .nodes = 2,
          .ranks_per_node = 8,
          .gpus_per_node = 8,
          .cores_per_rank = 6,
          .bytes_per_node = 100.0 * (1 << 30),
          .expected_seconds = 8 * 3600,
          .saving_seconds = 30};
}

TEST(BatchScript, NamesTheResources) {
  const std::string script = batch_script(example());
  for (const char* line :
       {"--nodes=2\n", "--ntasks-per-node=8\n", "--gpus-per-node=8\n", "--cpus-per-task=6\n", "--mem=115G\n",
        "--time=10:10:00\n", "--signal=B:USR1@120\n", "--requeue\n", "--chdir=/home/me\n", "--open-mode=append\n"}) {
    EXPECT_THAT(script, HasSubstr(std::string("#SBATCH ") + line));
  }
}

TEST(BatchScript, EndsWithTheJobAsAShellReadsIt) {
  EXPECT_THAT(
      batch_script(example()),
      EndsWith("exec /opt/pixelbert/slurm/job.sh pretrain --config 'configs/a b.ini' --run.dir 'runs/it'\\''s'\n"));
}

TEST(BatchScript, AsksForNoGpuWithoutOneAndForADayAtMost) {
  BatchJob job = example();
  job.gpus_per_node = 0;
  job.expected_seconds = 40 * 86400.0;
  job.saving_seconds = 400;
  const std::string script = batch_script(job);
  EXPECT_THAT(script, Not(HasSubstr("gpus")));
  EXPECT_THAT(script, HasSubstr("--time=24:00:00\n"));
  EXPECT_THAT(script, HasSubstr("--signal=B:USR1@800\n"));
}

}  // namespace
}  // namespace pixelbert::plan
