#include "optim/schedule.h"

#include <algorithm>
#include <cmath>

namespace pixelbert::optim {

double learning_rate(const Schedule& schedule, std::int64_t step) {
  const auto drops = std::count_if(schedule.drop_at_steps.begin(), schedule.drop_at_steps.end(),
                                   [step](std::int64_t at) { return step >= at; });
  const double rate = schedule.base * std::pow(schedule.drop_factor, static_cast<double>(drops));
  if (step >= schedule.warmup_steps) return rate;
  const double done = static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  return rate * (schedule.warmup_factor + (1 - schedule.warmup_factor) * done);
}

}  // namespace pixelbert::optim
