#include "doctor/placement.h"

#include <gmock/gmock.h>

namespace pixelbert::doctor {
namespace {

using testing::HasSubstr;

Placement on(const std::string& host, std::set<int> cores, int threads) {
  return {.host = host, .cores = std::move(cores), .threads = threads, .host_cores = 4};
}

TEST(Placement, TravelsAsText) {
  const Placement back = placement_from_text(to_text(on("a", {1, 3}, 2)));
  EXPECT_EQ(back.host, "a");
  EXPECT_EQ(back.cores, (std::set<int>{1, 3}));
  EXPECT_EQ(back.threads, 2);
  EXPECT_EQ(back.host_cores, 4);
}

TEST(CheckPlacement, IsContentWithACoreForEachThread) {
  EXPECT_EQ(check_placement({on("a", {0, 1, 2, 3}, 2), on("a", {0, 1, 2, 3}, 2)}, 1).level, Level::Ok);
  EXPECT_EQ(check_placement({on("a", {0, 1}, 2), on("a", {2, 3}, 2)}, 1).level, Level::Ok);
}

TEST(CheckPlacement, SeesRanksThatAreBoundToOneCore) {
  const std::vector<Placement> placements = {on("a", {2}, 1), on("a", {3}, 1), on("a", {2}, 1), on("b", {2}, 1)};
  const Finding finding = check_placement(placements, 2);
  EXPECT_EQ(finding.level, Level::Failure);
  EXPECT_THAT(finding.found, HasSubstr("ranks 0,2 on a: 1 of the host's 4 cores"));
  EXPECT_EQ(check_placement(placements, 1).level, Level::Ok);
  EXPECT_EQ(check_placement(placements, 3).level, Level::Ok);  // another host's core 2
}

TEST(CheckPlacement, SeesTooManyThreads) {
  const Finding finding = check_placement({on("a", {0, 1, 2, 3}, 4), on("a", {0, 1, 2, 3}, 4)}, 0);
  EXPECT_EQ(finding.level, Level::Warning);
  EXPECT_THAT(finding.advice, HasSubstr("OMP_NUM_THREADS to 2"));
}

// As with ranks that are bound to their cores and divide these by the number of ranks again.
TEST(CheckPlacement, SeesIdleCores) {
  const Finding finding = check_placement({on("a", {0, 1, 2, 3}, 1), on("a", {4, 5, 6, 7}, 1)}, 0);
  EXPECT_EQ(finding.level, Level::Warning);
  EXPECT_THAT(finding.advice, HasSubstr("OMP_NUM_THREADS to 4"));
  EXPECT_EQ(check_placement({on("a", {0, 1}, 1)}, 0).level, Level::Ok) << "a core for the loader";
}

}  // namespace
}  // namespace pixelbert::doctor
