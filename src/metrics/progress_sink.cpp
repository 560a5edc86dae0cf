#include "metrics/progress_sink.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "core/log.h"

namespace pixelbert::metrics {
namespace {

constexpr double kTerminalSeconds = 0.25;

bool on_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

// Leaves the cursor at the start, so that a log line begins there. Cuts the line at the terminal's width: a line that
// wraps would not be replaced.
void update_line(const std::string& line, bool last) {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  const std::size_t width = known ? size.ws_col - 1 : 79;
  std::fprintf(stderr, "\033[K%s%c", line.substr(0, width).c_str(), last ? '\n' : '\r');
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

ProgressSink::ProgressSink(std::int64_t total_steps, double every_seconds)
    : ProgressSink(
          total_steps, on_terminal() ? kTerminalSeconds : every_seconds,
          on_terminal() ? Write(update_line) : [](const std::string& line, bool) { log::info("{}", line); }) {}

ProgressSink::ProgressSink(std::int64_t total_steps, double every_seconds, Write write)
    : total_steps_(total_steps), every_seconds_(every_seconds), write_(std::move(write)) {}

void ProgressSink::record(const StepStats& stats) {
  ++steps_;
  samples_ += stats.step_samples;
  seconds_ += stats.seconds;
  flops_ += stats.flops;
  for (std::size_t i = 0; i < phase_seconds_.size(); ++i) phase_seconds_[i] += stats.phase_seconds[i];
  const bool last = stats.step >= total_steps_;
  if (!first_ && !last && seconds_ < every_seconds_) return;
  write_(line(stats), last);
  first_ = false;
  steps_ = samples_ = 0;
  seconds_ = flops_ = 0;
  phase_seconds_ = {};
}

std::string ProgressSink::line(const StepStats& stats) const {
  std::string text = fmt::format("step {}/{} epoch {}", stats.step, total_steps_, stats.epoch);
  for (const auto& [term, loss] : stats.term_loss) {
    text += fmt::format("  {} {:.3f}", term, loss);
    const auto accuracy = stats.term_accuracy.find(term);
    if (accuracy != stats.term_accuracy.end()) text += fmt::format(" ({:.1f}%)", 100 * accuracy->second);
  }
  if (!stats.skipped.empty()) text += fmt::format("  skipped: {}", stats.skipped);
  if (seconds_ <= 0) return text;
  const auto share = [this](Phase phase) { return 100 * phase_seconds_[static_cast<std::size_t>(phase)] / seconds_; };
  const double seconds_left = seconds_ / static_cast<double>(steps_) * static_cast<double>(total_steps_ - stats.step);
  text += fmt::format("  {:.1f} pairs/s", static_cast<double>(samples_) / seconds_);
  if (stats.peak_flops_per_second > 0) {
    text += fmt::format("  {:.0f}% of peak", 100 * flops_ / seconds_ / stats.peak_flops_per_second);
  }
  return text + fmt::format("  waits {:.0f}% data {:.0f}% ranks  left {}", share(Phase::Data), share(Phase::ReduceWait),
                            clock_time(seconds_left));
}

}  // namespace pixelbert::metrics
