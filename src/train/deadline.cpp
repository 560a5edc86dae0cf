#include "train/deadline.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "core/host.h"
#include "core/log.h"

namespace pixelbert::train {
namespace {

constexpr double kUnknownSaveSeconds = 60;
constexpr double kMarginSeconds = 5;  // for the launcher and the ranks to end
constexpr double kDecay = 0.99;

}  // namespace

Deadline::Deadline(std::filesystem::path file) : file_(std::move(file)), start_(unix_time()) {}

bool Deadline::reached(double save_seconds) {
  const Clock::time_point called = Clock::now();
  const double step = std::chrono::duration<double>(called - std::exchange(last_call_, called)).count();
  step_seconds_ = std::max(step, step_seconds_ * kDecay);

  double deadline = 0;
  if (!(std::ifstream(file_) >> deadline) || deadline < start_) return false;
  const double budget =
      2 * step_seconds_ + (save_seconds > 0 ? 2 * save_seconds : kUnknownSaveSeconds) + kMarginSeconds;
  const double left = deadline - unix_time();
  const bool reached = left <= budget;
  if (reached && !std::exchange(said_, true)) {
    log::info("the allocation ends in {:.0f} s and {:.0f} s are kept for the next step and a save ({}): stopping", left,
              budget, file_.string());
  }
  return reached;
}

}  // namespace pixelbert::train
