// The pairs of a SampleStream, in its order.
#pragma once

#include <vector>

#include "data/sample_stream.h"

namespace pixelbert::test {

inline std::vector<data::Pair> step_of(const data::SampleStream& stream, data::Position at) {
  return stream.pairs(at, 0, stream.pairs_in_step(at));
}

inline std::vector<data::Pair> epoch_of(const data::SampleStream& stream, std::int64_t epoch) {
  std::vector<data::Pair> pairs;
  for (data::Position at{epoch, 0}; at.epoch == epoch; at = stream.after(at)) {
    const std::vector<data::Pair> more = step_of(stream, at);
    pairs.insert(pairs.end(), more.begin(), more.end());
  }
  return pairs;
}

}  // namespace pixelbert::test
