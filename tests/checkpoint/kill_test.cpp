// A save that is killed leaves a folder that can be read and saved into again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "core/files.h"
#include "tests/checkpoint/examples.h"
#include "tests/support/save.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kKeep = 2;

std::vector<std::string> hidden_in(const fs::path& folder) {
  std::vector<std::string> hidden;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(".")) hidden.push_back(entry.path().filename());
  }
  return hidden;
}

// Checks that every folder under its final name is whole, that the newest is of `least_step` or later, that
// `latest` leads to a whole one, and that the next save works and cleans up.
void expect_usable(const fs::path& folder, std::int64_t least_step) {
  const std::vector<std::int64_t> steps = steps_in(folder);
  ASSERT_FALSE(steps.empty());
  EXPECT_GE(steps[0], least_step);
  for (const std::int64_t step : steps) EXPECT_TRUE(equal(load(folder / step_name(step)).value(), example(step)));
  EXPECT_EQ(load(folder).value().step, steps[0]);
  EXPECT_TRUE(fs::exists(folder / "latest" / kManifestName));

  test::save(folder, example(steps[0] + 1), kKeep);
  EXPECT_THAT(hidden_in(folder), testing::IsEmpty());
  EXPECT_EQ(steps_in(folder).size(), static_cast<std::size_t>(kKeep));
  EXPECT_EQ(fs::read_symlink(folder / "latest"), step_name(steps[0] + 1));
}

// Runs in a process of its own, started by the test below with PIXELBERT_FAULTS.
TEST(KilledSave, DISABLED_SavesSteps) {
  for (std::int64_t step = 1; step <= 4; ++step) test::save(std::getenv("PIXELBERT_TEST_FOLDER"), example(step), kKeep);
}

class KilledAt : public testing::TestWithParam<const char*> {};

TEST_P(KilledAt, LeavesAUsableFolder) {
  const test::TemporaryFolder folder;
  const std::string command = "PIXELBERT_TEST_FOLDER=" + folder.path().string() + " PIXELBERT_FAULTS=" + GetParam() +
                              " exec /proc/" + std::to_string(::getpid()) +
                              "/exe --gtest_also_run_disabled_tests --gtest_brief=1 "
                              "--gtest_filter=KilledSave.DISABLED_SavesSteps >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the fault did not happen: status " << status;
  expect_usable(folder.path(), 2);
}

INSTANTIATE_TEST_SUITE_P(EveryPhase, KilledAt,
                         testing::Values("kill-in-save@3", "kill-before-manifest@3", "kill-before-rename@3",
                                         "kill-before-latest@3", "kill-in-removal@1"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

TEST(KilledSave, LeavesAUsableFolderAtAnyMoment) {
  const test::TemporaryFolder folder;
  test::save(folder.path(), example(1), kKeep);
  for (int round = 0; round < 25; ++round) {
    const std::int64_t newest = steps_in(folder.path())[0];
    const pid_t child = ::fork();
    if (child == 0) {
      for (std::int64_t step = newest + 1;; ++step) test::save(folder.path(), example(step), kKeep);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500 + 1777 * round));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the saving process ended by itself";
    expect_usable(folder.path(), newest);
    if (testing::Test::HasFailure()) FAIL() << "in round " << round;
  }
}

}  // namespace
}  // namespace pixelbert::checkpoint
