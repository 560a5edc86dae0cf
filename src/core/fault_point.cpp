#include "core/fault_point.h"

#include <spdlog/fmt/fmt.h>

#include <cstdlib>
#include <string>

namespace pixelbert {

bool fault_point(std::string_view name, std::int64_t step, int rank) {
  static const char* const wanted = std::getenv("PIXELBERT_FAULTS");
  if (!wanted) return false;
  const std::string all = fmt::format(",{},", wanted);
  return all.find(fmt::format(",{}@{},", name, step)) != std::string::npos ||
         all.find(fmt::format(",{}@{}/{},", name, step, rank)) != std::string::npos;
}

}  // namespace pixelbert
