#include "metrics/activity_collector.h"

#include <prometheus/metric_family.h>

#include "core/activity.h"
#include "metrics/step_stats.h"

namespace pixelbert::metrics {

std::vector<prometheus::MetricFamily> ActivityCollector::Collect() const {
  const std::vector<activity::Activity> all = activity::all();
  const std::string phase = all.empty() ? "start" : all[0].phase;
  prometheus::MetricFamily family{"pixelbert_phase_active",
                                  "1 for the phase this rank is in now, 0 for the others",
                                  prometheus::MetricType::Gauge,
                                  {}};
  const auto add = [&](const std::string& name) {
    prometheus::ClientMetric metric;
    metric.label = {{"phase", name}};
    metric.gauge.value = name == phase ? 1 : 0;
    family.metric.push_back(metric);
  };
  add("start");  // before the first step
  for (const char* name : kPhaseNames) add(name);
  return {family};
}

}  // namespace pixelbert::metrics
