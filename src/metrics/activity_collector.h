// pixelbert_phase_active: where this rank stands at the moment it is asked, which a stalled rank tells too.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace pixelbert::metrics {

class ActivityCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace pixelbert::metrics
