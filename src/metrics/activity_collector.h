// pixelbert_phase_active: the phase this rank is in when it is scraped, also while it is stalled.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace pixelbert::metrics {

class ActivityCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace pixelbert::metrics
