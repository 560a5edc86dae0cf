#include "core/activity.h"

#include <pthread.h>

#include <chrono>
#include <list>
#include <mutex>
#include <utility>

#include "core/running_clock.h"

namespace pixelbert::activity {
namespace {

using Clock = RunningClock;

struct Entry {
  Activity activity;
  Clock::time_point since = Clock::now();
};

struct Table {
  std::mutex mutex;
  std::list<Entry> entries;  // a list: threads keep an iterator to their own
};

Table& table() {
  static auto* const table = new Table;  // never destroyed: threads may outlive main()
  return *table;
}

// A thread's line, taken out of the table when the thread ends.
class Own {
 public:
  Own() {
    const std::lock_guard lock(table().mutex);
    entry_ = table().entries.emplace(table().entries.end());
    entry_->activity.thread = table().entries.size() == 1 ? "main" : "thread";
  }
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;
  ~Own() {
    const std::lock_guard lock(table().mutex);
    table().entries.erase(entry_);
  }

  template <class Change>
  void change(Change change_activity) {
    const std::lock_guard lock(table().mutex);
    change_activity(entry_->activity);
    entry_->since = Clock::now();
  }

 private:
  std::list<Entry>::iterator entry_;
};

Own& own() {
  thread_local Own own;
  return own;
}

}  // namespace

void begin_step(std::int64_t step) {
  own().change([&](Activity& activity) { activity.step = step; });
}

void doing(std::string_view phase, std::string what) {
  waiting(phase, Wait::None, std::move(what));
}

void waiting(std::string_view phase, Wait place, std::string what) {
  own().change([&](Activity& activity) {
    activity.phase = phase;
    activity.doing = std::move(what);
    activity.wait = place;
  });
}

void reading(const std::filesystem::path& path) {
  own().change([&](Activity& activity) {
    if (activity.phase == "start" && activity.wait == Wait::None) activity.doing = "reading " + path.string();
  });
}

void moved() {
  own().change([](Activity&) {});
}

void name_thread(const std::string& name) {
  own().change([&](Activity& activity) { activity.thread = name; });
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

std::vector<Activity> all() {
  const std::lock_guard lock(table().mutex);
  std::vector<Activity> activities;
  for (const Entry& entry : table().entries) {
    activities.push_back(entry.activity);
    activities.back().seconds = std::chrono::duration<double>(Clock::now() - entry.since).count();
  }
  return activities;
}

}  // namespace pixelbert::activity
