#include "train/numerics.h"

#include <gmock/gmock.h>

#include "comm/solo_communicator.h"
#include "core/check.h"

namespace pixelbert::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Numerics, AreTheSameEachTimeAndOthersInAnotherPrecision) {
  const Numerics one = measure_numerics(torch::kCPU, model::Precision::Float32);
  EXPECT_EQ(one, measure_numerics(torch::kCPU, model::Precision::Float32));
  EXPECT_NE(one.at("gradient"), measure_numerics(torch::kCPU, model::Precision::Bf16).at("gradient"));
  for (const auto& [name, value] : one) EXPECT_NE(value, "") << name;
}

TEST(Numerics, SayWhatIsUnlike) {
  const Numerics one = {{"gradient", "1"}, {"instructions", "AVX2"}, {"threads", "4"}, {"library", "a"}};
  Numerics other = {{"gradient", "2"}, {"instructions", "AVX512"}, {"threads", "2"}, {"library", "a"}};
  EXPECT_EQ(difference(one, other), "AVX2 instead of AVX512, 4 threads instead of 2 threads");
  other["gradient"] = "1";
  EXPECT_EQ(difference(one, other), "") << "the bits decide";
  Numerics third = one;
  third["gradient"] = "3";
  EXPECT_EQ(difference(one, third), "for a reason that this program does not know");
  third.erase("gradient");
  EXPECT_NE(difference(one, third), "") << "a damaged file";
}

TEST(Numerics, OfTheRunSoFarAreComparedWithThisJobs) {
  comm::SoloCommunicator solo;
  const Numerics now = {{"gradient", "1"}, {"instructions", "AVX2"}};
  const Numerics before = {{"gradient", "2"}, {"instructions", "AVX512"}};
  compare_numerics(now, now, "run", /*same=*/true, solo);
  compare_numerics(now, {}, "run", /*same=*/true, solo);
  compare_numerics(now, before, "run", /*same=*/false, solo);
  EXPECT_THAT([&] { compare_numerics(now, before, "run", /*same=*/true, solo); },
              ThrowsMessage<SharedError>(HasSubstr(
                  "differs from the run in run so far in the last bits of its results: AVX2 instead of AVX512")));
}

}  // namespace
}  // namespace pixelbert::train
