// Small records for tests of shards.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "shards/record.h"

namespace pixelbert::test {

// Record `i` has an image of random bytes and i % 4 texts, some of them not ASCII.
inline shards::Record record_number(std::int64_t i, std::size_t bytes = 1000) {
  Random random(key(17, i));
  shards::Record record;
  shards::StoredImage image{1000 + i, std::vector<std::uint8_t>(bytes + random.below(100)),
                            30 + static_cast<std::int32_t>(i), 40};
  for (std::uint8_t& byte : image.encoded) byte = static_cast<std::uint8_t>(random.next());
  record.images.push_back(std::move(image));
  for (std::int64_t k = 0; k < i % 4; ++k) {
    record.texts.push_back({10 * i + k, fmt::format("ein Bär, Nummer {} von {}", k, i), {}});
  }
  return record;
}

}  // namespace pixelbert::test
