#include "core/faults.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::faults {
namespace {

const char* const kWanted = std::getenv("PIXELBERT_FAULTS");
int own_rank = 0;

void sleep_if_wanted(std::string_view name, std::int64_t step) {
  if (wanted(name, step, own_rank)) std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

void act(const activity::Activity& now) {
  const std::int64_t done = now.step - 1;
  if (now.thread == "saver") {
    sleep_if_wanted("sleep-save", now.step);
  } else if (now.thread != "main") {
    sleep_if_wanted("sleep-decode", done);
    hang_if_wanted("hang-decode", done, own_rank);
  } else if (now.wait == activity::Wait::Gradients) {
    PB_CHECK(!wanted("throw", done, own_rank), "asked for by PIXELBERT_FAULTS");
  } else if (now.doing == "loss sums") {
    sleep_if_wanted("sleep-reduce", done);
  }
}

}  // namespace

bool any() {
  return kWanted != nullptr;
}

bool wanted(std::string_view name, std::int64_t step, int rank) {
  if (!any()) return false;
  const std::string all = fmt::format(",{},", kWanted);
  const auto asks_for = [&](const std::string& fault) { return all.find(fmt::format(",{},", fault)) != all.npos; };
  return asks_for(fmt::format("{}@{}", name, step)) || asks_for(fmt::format("{}@{}/{}", name, step, rank)) ||
         asks_for(fmt::format("{}@*", name)) || asks_for(fmt::format("{}@*/{}", name, rank));
}

void kill_if_wanted(std::string_view name, std::int64_t step, int rank) {
  if (wanted(name, step, rank)) std::raise(SIGKILL);
}

void hang_if_wanted(std::string_view name, std::int64_t step, int rank) {
  while (wanted(name, step, rank)) std::this_thread::sleep_for(std::chrono::hours(1));
}

void act_out(int rank) {
  own_rank = rank;
  if (any()) activity::set_hook(act);
}

}  // namespace pixelbert::faults
