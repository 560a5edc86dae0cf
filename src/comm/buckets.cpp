#include "comm/buckets.h"

#include "core/check.h"

namespace pixelbert::comm {

std::vector<std::vector<std::size_t>> plan_buckets(std::span<const std::int64_t> bytes, std::int64_t cap_bytes) {
  PB_CHECK(cap_bytes > 0, "gradient buckets: expected a size above 0 bytes, found {}", cap_bytes);
  std::vector<std::vector<std::size_t>> buckets;
  std::int64_t filled = 0;
  for (std::size_t parameter = bytes.size(); parameter-- > 0;) {
    if (buckets.empty() || filled + bytes[parameter] > cap_bytes) {
      buckets.emplace_back();
      filled = 0;
    }
    buckets.back().push_back(parameter);
    filled += bytes[parameter];
  }
  return buckets;
}

}  // namespace pixelbert::comm
