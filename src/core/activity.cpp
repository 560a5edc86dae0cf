#include "core/activity.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <list>
#include <mutex>
#include <utility>

#include "core/running_clock.h"

namespace pixelbert::activity {
namespace {

using Clock = RunningClock;

using Steady = std::chrono::steady_clock;

struct Entry {
  Activity activity;
  Clock::time_point since = Clock::now();
  Spent spent{};  // before `entered`
  Steady::time_point entered = Steady::now();

  void enter(Phase phase) {
    const Steady::time_point now = Steady::now();
    spent[static_cast<std::size_t>(activity.phase)] += now - std::exchange(entered, now);
    activity.phase = phase;
  }
};

std::atomic<void (*)(const Activity&)> hook = nullptr;

Phase phase_of(Wait place) {
  if (place == Wait::Start) return Phase::Start;
  return place == Wait::Save ? Phase::Checkpoint : Phase::ReduceWait;
}

struct Table {
  std::mutex mutex;
  std::list<Entry> entries;  // a list: threads keep an iterator to their own
};

Table& table() {
  static auto* const table = new Table;  // never destroyed: threads may outlive main()
  return *table;
}

// A thread's entry, which leaves the table when the thread ends.
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
  void change(Change change_entry) {
    const std::lock_guard lock(table().mutex);
    change_entry(*entry_);
    entry_->since = Clock::now();
  }

  Entry copy() const {
    const std::lock_guard lock(table().mutex);
    return *entry_;
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
  own().change([&](Entry& entry) { entry.activity.step = step; });
  if (hook) hook.load()(own().copy().activity);
}

void doing(Phase phase, std::string what) {
  own().change([&](Entry& entry) {
    entry.enter(phase);
    entry.activity.doing = std::move(what);
    entry.activity.wait = Wait::None;
  });
}

void waiting(Wait place, std::string what) {
  own().change([&](Entry& entry) {
    entry.enter(phase_of(place));
    entry.activity.doing = std::move(what);
    entry.activity.wait = place;
  });
  if (hook) hook.load()(own().copy().activity);
}

WaitInStart::WaitInStart(std::string what) {
  Activity now = own().copy().activity;
  if (now.phase != Phase::Start || now.wait != Wait::None) return;
  before_ = std::move(now.doing);
  waiting(Wait::Start, std::move(what));
}

WaitInStart::~WaitInStart() {
  if (before_) doing(Phase::Start, std::move(*before_));
}

void reading(const std::filesystem::path& path) {
  own().change([&](Entry& entry) {
    Activity& activity = entry.activity;
    if (activity.phase == Phase::Start && activity.wait == Wait::None) activity.doing = "reading " + path.string();
  });
}

void moved() {
  own().change([](Entry&) {});
}

void name_thread(const std::string& name) {
  own().change([&](Entry& entry) { entry.activity.thread = name; });
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

Spent spent() {
  Entry entry = own().copy();
  entry.enter(entry.activity.phase);
  return entry.spent;
}

void set_hook(void (*new_hook)(const Activity&)) {
  hook = new_hook;
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
