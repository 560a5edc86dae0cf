// The rate at which a device multiplies matrices: the peak that a model's arithmetic is compared with.
#pragma once

#include <torch/types.h>

#include <string>

#include "model/autocast.h"

namespace pixelbert::model {

// Returns the floating-point operations per second of the product of two square matrices: the median of nine
// measurements, which take about `seconds` together, with this process's compute threads. On a CPU ranks share caches
// and clock, so call it on all ranks of a host at once, as they train. Draws no random numbers. How often the host
// waits for a GPU does not depend on the times.
double measure_peak(torch::Device device, Precision precision, double seconds);

// Returns "71.2 to 75.0 GFLOP/s", or "71.2 GFLOP/s" if both ends read the same.
std::string readable_peak(double least, double most);

}  // namespace pixelbert::model
