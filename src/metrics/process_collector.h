// The usual process_* metrics, from /proc.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace pixelbert::metrics {

class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace pixelbert::metrics
