#include "metrics/process_collector.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace pixelbert::metrics {
namespace {

prometheus::MetricFamily family(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

// Field `number` of /proc/self/stat as proc(5) counts them. The second, the program's name, may contain blanks.
double stat_field(int number) {
  std::ifstream in("/proc/self/stat");
  std::string text(std::istreambuf_iterator<char>(in), {});
  std::istringstream behind_name(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= number; ++i) behind_name >> field;
  return std::stod(field);
}

double boot_time() {
  std::ifstream in("/proc/stat");
  for (std::string word; in >> word;) {
    if (word == "btime" && in >> word) return std::stod(word);
  }
  return 0;
}

std::vector<prometheus::MetricFamily> families() {
  using prometheus::MetricType;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto page = static_cast<double>(::sysconf(_SC_PAGESIZE));
  const std::filesystem::directory_iterator open_files("/proc/self/fd");
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  return {
      family("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", MetricType::Counter,
             (stat_field(14) + stat_field(15)) / ticks),
      family("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::Gauge,
             stat_field(24) * page),
      family("process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::Gauge, stat_field(23)),
      family("process_open_fds", "Number of open file descriptors.", MetricType::Gauge,
             static_cast<double>(std::distance(begin(open_files), end(open_files)) - 1)),  // one of them reads this
      family("process_max_fds", "Maximum number of open file descriptors.", MetricType::Gauge,
             static_cast<double>(files.rlim_cur)),
      family("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", MetricType::Gauge,
             boot_time() + stat_field(22) / ticks),
  };
}

}  // namespace

// Without free descriptors, /proc cannot be read. Nothing in the server's thread would catch that.
std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  try {
    return families();
  } catch (const std::exception&) {
    return {};
  }
}

}  // namespace pixelbert::metrics
