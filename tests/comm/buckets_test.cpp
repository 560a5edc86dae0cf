#include "comm/buckets.h"

#include <gmock/gmock.h>

#include "core/check.h"

namespace pixelbert::comm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Buckets = std::vector<std::vector<std::size_t>>;

Buckets plan(std::vector<std::int64_t> bytes, std::int64_t cap) {
  return plan_buckets(bytes, cap);
}

TEST(Buckets, AreFilledFromTheLastParameterToTheFirst) {
  EXPECT_THAT(plan({4, 4, 4, 4, 4}, 8), ElementsAre(ElementsAre(4, 3), ElementsAre(2, 1), ElementsAre(0)));
}

TEST(Buckets, GiveAParameterAboveTheCapABucketToItself) {
  EXPECT_THAT(plan({4, 100, 4}, 8), ElementsAre(ElementsAre(2), ElementsAre(1), ElementsAre(0)));
}

TEST(Buckets, AreNoneForAModelWithoutParameters) {
  EXPECT_TRUE(plan({}, 8).empty());
}

TEST(Buckets, HoldEveryParameterOnceAndStayBelowTheCap) {
  const std::vector<std::int64_t> bytes = {64, 1, 300, 7, 128, 128, 5, 64, 64, 2, 500, 31};
  for (std::int64_t cap = 1; cap < 1200; ++cap) {
    std::size_t expected = bytes.size();
    for (const auto& bucket : plan(bytes, cap)) {
      std::int64_t filled = 0;
      for (const std::size_t parameter : bucket) {
        ASSERT_EQ(parameter, --expected) << "cap " << cap;
        filled += bytes[parameter];
      }
      ASSERT_TRUE(filled <= cap || bucket.size() == 1) << "cap " << cap;
    }
    ASSERT_EQ(expected, 0U) << "cap " << cap;
  }
}

TEST(Buckets, RefuseACapOfNothing) {
  EXPECT_THAT([] { plan({4}, 0); }, ThrowsMessage<Error>(HasSubstr("expected a size above 0 bytes, found 0")));
}

}  // namespace
}  // namespace pixelbert::comm
