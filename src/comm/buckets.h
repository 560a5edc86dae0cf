// Decides which gradients are reduced together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pixelbert::comm {

// Groups parameters, given their sizes in the order the model registers them, into buckets of at most `cap_bytes`, last
// parameter first, which is the order in which backward finishes them. A parameter above the cap gets a bucket of its
// own.
std::vector<std::vector<std::size_t>> plan_buckets(std::span<const std::int64_t> bytes, std::int64_t cap_bytes);

}  // namespace pixelbert::comm
