// Which gradients travel together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pixelbert::comm {

// Groups parameters, given their sizes in the order the model registers them, into buckets of at most `cap_bytes`, last
// parameter first: the order in which backward finishes them. A parameter above the cap has a bucket to itself.
std::vector<std::vector<std::size_t>> plan_buckets(std::span<const std::int64_t> bytes, std::int64_t cap_bytes);

}  // namespace pixelbert::comm
