#include "data/padding.h"

#include <algorithm>
#include <set>
#include <utility>

namespace pixelbert::data {

std::vector<StepShapes> shapes_from(const SampleStream& stream, Position at, std::int64_t micro_batches) {
  std::vector<StepShapes> steps;
  for (const std::int64_t epoch = at.epoch; at.epoch == epoch && (steps.empty() || micro_batches > 0);
       at = stream.after(at)) {
    StepShapes& step = steps.emplace_back();
    for (const MicroBatch& batch : stream.micro_batches(at, {})) {
      step.push_back(stream.shape(at, batch.first, batch.last));
    }
    micro_batches -= std::ssize(step);
  }
  return steps;
}

Padding padding_of(const std::vector<StepShapes>& steps, const images::ImageConfig& image, int ranks) {
  Padding result;
  std::set<std::pair<std::int64_t, std::int64_t>> sizes;
  double real = 0, padded = 0, busiest = 0;
  for (const StepShapes& step : steps) {
    const std::vector<std::int64_t> bounds = run_bounds(std::ssize(step), ranks);
    double most = 0;
    for (std::size_t rank = 0; rank + 1 < bounds.size(); ++rank) {
      double own = 0;
      for (std::int64_t i = bounds[rank]; i < bounds[rank + 1]; ++i) {
        const Shape& batch = step[i];
        const images::Size size = images::padded({batch.height, batch.width}, image);
        sizes.emplace(size.height, size.width);
        own += static_cast<double>(batch.images * size.height * size.width);
        real += static_cast<double>(batch.pixels);
      }
      padded += own;
      most = std::max(most, own);
    }
    busiest += most * ranks;
    result.micro_batches += std::ssize(step);
  }
  result.sizes = std::ssize(sizes);
  if (real > 0) {
    result.padded = padded / real;
    result.busiest = busiest / real;
  }
  return result;
}

}  // namespace pixelbert::data
