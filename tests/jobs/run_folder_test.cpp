#include "jobs/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace pixelbert::jobs {
namespace {

using ::testing::ElementsAre;

TEST(CheckpointWriters, AreTheRanksOfRank0sHostThatReachItsFolder) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "run/checkpoints");
  std::filesystem::create_directories(folder.path() / "other/checkpoints");
  const std::vector<int> hosts = {0, 0, 1, 0, 0};
  std::vector<std::vector<int>> writers(hosts.size());
  test::ThreadRanks(hosts).run([&](comm::Communicator& communicator) {
    const char* const run = communicator.rank() == 3 ? "other" : communicator.rank() == 4 ? "none" : "run";
    writers[static_cast<std::size_t>(communicator.rank())] =
        checkpoint_writers(folder.path() / run, hosts, communicator);
  });
  for (const std::vector<int>& found : writers) EXPECT_THAT(found, ElementsAre(0, 1));
}

}  // namespace
}  // namespace pixelbert::jobs
