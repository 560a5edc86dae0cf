// A mean of values that are added one by one.
#pragma once

#include <cstdint>

namespace pixelbert::evaluation {

struct Mean {
  double sum = 0;
  std::int64_t count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / static_cast<double>(count); }
};

}  // namespace pixelbert::evaluation
