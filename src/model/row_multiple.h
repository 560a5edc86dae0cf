// How many rows a matrix product should have on the CPU.
#pragma once

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <bit>
#include <cstdint>

namespace pixelbert::model {

// Under autocast oneDNN compiles its operators for each number of rows and keeps up to 1024 of them, 400 MB. Rounding
// up to a multiple of this, by at most 3 % or 32 rows, leaves few numbers. Otherwise it is 1.
inline std::int64_t row_multiple(std::int64_t most_rows) {
  if (!at::autocast::is_autocast_enabled(at::kCPU)) return 1;
  return std::max<std::int64_t>(32,
                                static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most_rows))) / 32);
}

inline std::int64_t rounded_rows(std::int64_t rows) {
  const std::int64_t multiple = row_multiple(rows);
  return (rows + multiple - 1) / multiple * multiple;
}

}  // namespace pixelbert::model
