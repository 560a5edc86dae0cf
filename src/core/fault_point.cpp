#include "core/fault_point.h"

#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

namespace pixelbert {

bool fault_point(std::string_view name, std::int64_t step, int rank) {
  static const char* const wanted = std::getenv("PIXELBERT_FAULTS");
  if (!wanted) return false;
  const std::string all = fmt::format(",{},", wanted);
  const auto asks_for = [&](const std::string& fault) { return all.find(fmt::format(",{},", fault)) != all.npos; };
  return asks_for(fmt::format("{}@{}", name, step)) || asks_for(fmt::format("{}@{}/{}", name, step, rank)) ||
         asks_for(fmt::format("{}@*", name)) || asks_for(fmt::format("{}@*/{}", name, rank));
}

void fault_sleep(std::string_view name, std::int64_t step, int rank) {
  if (fault_point(name, step, rank)) std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

}  // namespace pixelbert
