#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace pixelbert::log {

void start(int rank, int world_size) {
  std::shared_ptr<spdlog::logger> logger = spdlog::get("pixelbert");
  if (!logger) {
    logger = spdlog::stderr_logger_mt("pixelbert");
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(logger);
  }
  logger->set_pattern(world_size > 1 ? fmt::format("%H:%M:%S %l [rank {}] %v", rank) : "%H:%M:%S %l %v");
  logger->set_level(rank == 0 ? spdlog::level::info : spdlog::level::warn);
}

}  // namespace pixelbert::log
