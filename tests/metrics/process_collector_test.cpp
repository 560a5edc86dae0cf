#include "metrics/process_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/metric_family.h>
#include <sys/resource.h>

#include <chrono>
#include <ctime>
#include <map>
#include <string>

#include "core/files.h"

namespace pixelbert::metrics {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

std::map<std::string, double> collected() {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : ProcessCollector().Collect()) {
    const prometheus::ClientMetric& metric = family.metric.at(0);
    values[family.name] = family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  return values;
}

TEST(ProcessMetrics, AreOfAPlausibleSize) {
  const auto found = collected();
  EXPECT_EQ(found.size(), 6u);
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_THAT(found.at("process_start_time_seconds"), AllOf(Le(now.count() + 2), Ge(now.count() - 3600)));
  EXPECT_THAT(found.at("process_resident_memory_bytes"), AllOf(Ge(1e6), Le(1e11)));
  EXPECT_GE(found.at("process_virtual_memory_bytes"), found.at("process_resident_memory_bytes"));
  EXPECT_THAT(found.at("process_open_fds"), AllOf(Ge(3), Le(found.at("process_max_fds"))));
}

TEST(ProcessMetrics, FollowWhatTheProcessDoes) {
  const auto before = collected();
  const std::string touched(64 << 20, 'x');
  const std::clock_t start = std::clock();
  while (std::clock() - start < CLOCKS_PER_SEC / 10) {
  }
  const FileDescriptor one_more = open_for_reading("/proc/self/stat");
  const auto after = collected();
  EXPECT_GE(after.at("process_cpu_seconds_total"), before.at("process_cpu_seconds_total") + 0.05);
  EXPECT_GE(after.at("process_resident_memory_bytes"),
            before.at("process_resident_memory_bytes") + static_cast<double>(touched.size()) / 2);
  EXPECT_EQ(after.at("process_open_fds"), before.at("process_open_fds") + 1);
}

TEST(ProcessMetrics, AreLeftOutWhenThereIsNoDescriptorToReadThemWith) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_NO_THROW(EXPECT_TRUE(collected().empty()));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(collected().size(), 6u);
}

}  // namespace
}  // namespace pixelbert::metrics
