#include "metrics/activity_collector.h"

#include <prometheus/metric_family.h>

#include <algorithm>

#include "core/activity.h"

namespace pixelbert::metrics {

std::vector<prometheus::MetricFamily> ActivityCollector::Collect() const {
  const std::vector<activity::Activity> all = activity::all();
  const activity::Phase now = all.empty() ? activity::Phase::Start : all[0].phase;
  prometheus::MetricFamily family{"pixelbert_phase_active",
                                  "1 for the phase this rank is in now, 0 for the others",
                                  prometheus::MetricType::Gauge,
                                  {}};
  for (const std::string_view name : names(now)) {
    prometheus::ClientMetric metric;
    metric.label = {{"phase", std::string(name)}};
    metric.gauge.value = name == name_of(now) ? 1 : 0;
    family.metric.push_back(metric);
  }
  const bool saves = std::ranges::any_of(all, [](const activity::Activity& thread) {
    return thread.thread == "saver" && thread.phase == activity::Phase::Checkpoint;
  });
  prometheus::MetricFamily saving{"pixelbert_saving",
                                  "1 while this rank writes a checkpoint beside training, or waits for the others'",
                                  prometheus::MetricType::Gauge,
                                  {}};
  saving.metric.emplace_back().gauge.value = saves ? 1 : 0;
  return {family, saving};
}

}  // namespace pixelbert::metrics
