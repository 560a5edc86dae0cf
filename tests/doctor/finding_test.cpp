#include "doctor/finding.h"

#include <gmock/gmock.h>

namespace pixelbert::doctor {
namespace {

using testing::ElementsAre;

const Finding kFine{"clock", Level::Ok, "fine", ""};
const Finding kSlow{"reading", Level::Warning, "1 MB/s", "copy it"};
const Finding kBroken{"clock", Level::Failure, "stopped \xff", "wind it"};

TEST(Finding, TravelsAsText) {
  const std::vector<Finding> back = from_text(to_text({kFine, kBroken}));
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0], kFine);
  EXPECT_EQ(back[1].level, Level::Failure);
  EXPECT_EQ(back[1].advice, "wind it");
}

TEST(Table, HasOneLineForEachDifferentFindingBesideOthersOfItsCheck) {
  const Finding broken{"clock", Level::Failure, "stopped", "wind it"};
  EXPECT_EQ(table({{kFine, kSlow}, {kFine, kSlow}, {broken, kSlow}}),
            "ok       clock    ranks 0-1  fine\n"
            "FAILURE  clock    rank 2     stopped: wind it\n"
            "warning  reading  all ranks  1 MB/s: copy it\n");
}

TEST(Table, EndsWithTheWorst) {
  EXPECT_EQ(worst({{kFine}, {kFine}}), Level::Ok);
  EXPECT_EQ(worst({{kFine}, {kSlow}}), Level::Warning);
  EXPECT_EQ(worst({{kBroken}, {kSlow}}), Level::Failure);
}

TEST(Table, NamesTheOnlyRank) {
  EXPECT_EQ(table({{kFine}}), "ok       clock  rank 0  fine\n");
}

}  // namespace
}  // namespace pixelbert::doctor
