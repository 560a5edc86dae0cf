#include "doctor/device_checks.h"

#include <gtest/gtest.h>

#include "comm/solo_communicator.h"

namespace pixelbert::doctor {
namespace {

TEST(Peaks, OfEqualRanksAreOneLine) {
  const std::vector<Peak> peaks = {{70e9, 140e9}, {75e9, 141e9}};
  const std::vector<Finding> expected = {
      {"peak", Level::Ok, "float32 70.0 to 75.0 GFLOP/s, bf16 140.0 to 141.0 GFLOP/s on a rank", ""}};
  EXPECT_EQ(check_peaks(peaks, 0), expected);
  EXPECT_EQ(check_peaks(peaks, 1), expected);
}

TEST(Peaks, NameARankThatIsFarSlowerThanTheOthers) {
  const std::vector<Peak> peaks = {{70e9, 140e9}, {75e9, 60e9}, {72e9, 142e9}};
  EXPECT_EQ(check_peaks(peaks, 0).size(), 1u);
  EXPECT_EQ(check_peaks(peaks, 2).size(), 1u);
  const std::vector<Finding> of_slow = check_peaks(peaks, 1);
  ASSERT_EQ(of_slow.size(), 3u);
  EXPECT_EQ(of_slow[1].level, Level::Warning);
  EXPECT_EQ(of_slow[1].found, "only float32 75.0 GFLOP/s, bf16 60.0 GFLOP/s");
}

TEST(Peaks, SayWhereBf16IsSlowerThanFloat32) {
  const std::vector<Finding> findings = check_peaks({{75e9, 40e9}}, 0);
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[1], (Finding{"bf16", Level::Warning, "bf16 is slower than float32 on this processor",
                                  "train with --train.precision float32"}));
}

TEST(Peaks, AreMeasuredOnEveryRank) {
  comm::SoloCommunicator alone;
  const std::vector<Peak> peaks = measure_peaks(alone, torch::kCPU);
  ASSERT_EQ(peaks.size(), 1u);
  EXPECT_GT(peaks[0].float32, 1e6);
  EXPECT_GT(peaks[0].bf16, 1e6);
}

}  // namespace
}  // namespace pixelbert::doctor
