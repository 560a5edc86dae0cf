// Learning rate as a pure function of the step.
#pragma once

#include <cstdint>
#include <vector>

namespace pixelbert::optim {

struct Schedule {
  double base = 1e-4;
  std::int64_t warmup_steps = 0;  // linear from `warmup_factor` * base (SOHO: 1000 steps from 1/3)
  double warmup_factor = 1.0 / 3;
  std::vector<std::int64_t> drop_at_steps;  // multiplied by `drop_factor` from each of these steps on
  double drop_factor = 0.1;
};

double learning_rate(const Schedule& schedule, std::int64_t step);  // step 0 is the first update

}  // namespace pixelbert::optim
