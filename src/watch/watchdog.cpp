#include "watch/watchdog.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/host.h"
#include "core/json_text.h"
#include "core/log.h"
#include "core/running_clock.h"
#include "watch/launcher.h"
#include "watch/report.h"
#include "watch/report_files.h"
#include "watch/side_channel.h"
#include "watch/stacks.h"
#include "watch/start_watch.h"

namespace pixelbert::watch {
namespace {

using nlohmann::json;
using Clock = RunningClock;

// Timeouts for the others' stacks and for the report's file. A rank that fails by itself waits no longer than
// kFailedSeconds for the report, then ends the job.
constexpr double kAnswerSeconds = 3, kWriteSeconds = 3;
constexpr double kAnswerSecondsWhenFailed = 0.8, kWriteSecondsWhenFailed = 0.8, kFailedSeconds = 2;
constexpr double kGraceSeconds = 2;  // mpirun, too, ends a job after a rank has died, and reports the signal

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

bool is_stopped(int pid) {
  std::string stat;
  std::getline(std::ifstream(fmt::format("/proc/{}/stat", pid)), stat);
  const std::size_t name_end = stat.rfind(") ");  // the state follows, one letter
  return name_end != std::string::npos && (stat[name_end + 2] == 'T' || stat[name_end + 2] == 't');
}

RankStatus status_now(const Place& place) {
  const std::vector<activity::Activity> all = activity::all();
  RankStatus status{.rank = place.rank, .host = place.host, .pid = getpid()};
  status.seconds_since_progress = seconds_since_progress(all);
  if (!all.empty()) {
    status.main = all[0];
    status.others.assign(all.begin() + 1, all.end());
  }
  return status;
}

}  // namespace

class Watchdog::Thread {
 public:
  Thread(const WatchdogConfig& config, Place place, const std::function<std::string(const std::string&)>& share)
      : limit_(config.seconds),
        tick_(std::min(1.0, config.seconds / 8)),
        place_(std::move(place)),
        channel_(place_.rank, place_.world_size, {{"status", to_json(status_now(place_))}}, share),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    prepare_stacks();
    for (int rank = 0; rank < place_.world_size; ++rank) {
      const bool peer = place_.rank == 0 ? rank != 0 : rank == 0;
      if (peer) peers_[rank].last.rank = rank;
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  ~Thread() {
    thread_.request_stop();
    wake();
    thread_.join();
    if (error_) return;  // main() ends the job
    channel_.send_all({{"bye", true}});
    if (place_.rank == 0) write_ranks(true);
  }

  void report_to(std::filesystem::path folder) { files_.write_to(std::move(folder)); }

  void failed(const std::string& error) {
    std::unique_lock lock(mutex_);
    error_ = error;
    wake();
    reported_.wait_for(lock, std::chrono::duration<double>(kFailedSeconds), [&] { return decided_; });
  }

 private:
  struct Peer {
    RankStatus last;
    Clock::time_point heard = Clock::now();
    bool bye = false;       // it has ended normally
    bool answered = false;  // with its stacks
  };

  void run(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "watchdog");
    Clock::time_point told;
    while (!stop.stop_requested()) {
      try {
        receive(tick_ / 2);
        std::uint64_t wakes = 0;
        [[maybe_unused]] const auto drained = ::read(wake_.get(), &wakes, sizeof wakes);
        if (seconds_since(told) >= tick_) {
          told = Clock::now();
          channel_.send_all({{"status", to_json(own_status())}});
          if (place_.rank == 0) write_ranks(false);
        }
        judge();
      } catch (const std::exception& error) {  // for example no descriptors left: the job itself may be fine
        log::warn("watchdog: {}", error.what());
        std::this_thread::sleep_for(std::chrono::duration<double>(tick_));
      }
    }
  }

  // --- reports of the ranks

  RankStatus own_status() {
    RankStatus own = status_now(place_);
    const std::lock_guard lock(mutex_);
    if (error_) {
      own.state = State::Failed;
      own.error = *error_;
    }
    return own;
  }

  RankStatus own_status_with_stacks() {
    RankStatus own = own_status();
    own.stacks = stacks_of_all_threads();
    return own;
  }

  void receive(double seconds) {
    for (const auto& [rank, message] : channel_.receive(wake_.get(), seconds)) {
      const auto found = peers_.find(rank);
      if (found == peers_.end()) continue;
      Peer& peer = found->second;
      if (message.is_null()) {
        if (!peer.bye) peer.last.state = State::Gone;
        continue;
      }
      peer.heard = Clock::now();
      peer.bye = peer.bye || message.contains("bye");
      if (message.contains("status")) update(peer.last, rank_status_from(message["status"]));
      peer.answered = peer.answered || message.contains("answer");
      if (message.contains("ask")) channel_.send(rank, {{"status", to_json(own_status_with_stacks())}, {"answer", 1}});
      if (message.contains("told")) decide();
      if (message.contains("exit")) end_rank(1);
    }
  }

  // A rank keeps reporting after it has sent its stacks; the stacks are kept.
  static void update(RankStatus& last, RankStatus status) {
    if (status.stacks.empty()) status.stacks = std::move(last.stacks);
    last = std::move(status);
  }

  // --- decisions

  void judge() {
    const bool lost_one = any([](const Peer& peer) { return is_gone(peer); });
    if (decided()) {  // a rank that failed ends the job through MPI; the others wait only a moment
      if (lost_one && seconds_since(decided_at_) > kGraceSeconds) end_rank(1);
      return;
    }
    const RankStatus own = own_status();
    if (place_.rank != 0 && hears_rank_0()) {  // rank 0 decides
      const bool news = own.state == State::Failed && !std::exchange(complained_, true);
      if (news) channel_.send_all({{"status", to_json(own_status_with_stacks())}});
      return;
    }
    if (own.state == State::Failed || any([](const Peer& peer) { return peer.last.state == State::Failed; })) {
      report(Reason::Failed);
    } else if (lost_one) {
      report(Reason::Died);
    } else if (seconds_without_progress(own) >= limit_) {
      report(Reason::Stalled);
    }
  }

  static bool is_gone(const Peer& peer) { return peer.last.state == State::Gone; }

  bool any(const auto& which) {
    return std::ranges::any_of(peers_, [&](const auto& entry) { return which(entry.second); });
  }

  bool hears_rank_0() {
    return any([&](const Peer& peer) { return !peer.bye && !is_gone(peer) && seconds_since(peer.heard) < limit_ / 2; });
  }

  double seconds_without_progress(const RankStatus& own) const {
    double seconds = own.seconds_since_progress;
    for (const auto& [rank, peer] : peers_) {
      if (!peer.bye) seconds = std::min(seconds, peer.last.seconds_since_progress + seconds_since(peer.heard));
    }
    return seconds;
  }

  void report(Reason reason) {
    const bool failed = reason == Reason::Failed;
    // When a rank has died, mpirun kills the others at once: there is no time to ask for stacks.
    if (reason != Reason::Died) ask_for_stacks(failed ? kAnswerSecondsWhenFailed : kAnswerSeconds);
    Report report{.reason = reason, .unix_time = unix_time(), .limit_seconds = limit_, .reporter = place_.rank};
    report.ranks.push_back(own_status_with_stacks());
    for (auto& [rank, peer] : peers_) {
      if (!peer.bye) report.ranks.push_back(as_seen(peer));
    }
    std::ranges::sort(report.ranks, {}, &RankStatus::rank);
    files_.write(place_.rank == 0 ? "report.json" : fmt::format("report-of-rank-{}.json", place_.rank),
                 json_text(to_json(report), 1) + "\n");
    // A rank that fails by itself logs the reason in main().
    if (!failed) log::error("watchdog: {}", text_of(report));
    spdlog::default_logger()->flush();
    files_.wait(failed ? kWriteSecondsWhenFailed : kWriteSeconds);
    decide();
    channel_.send_all({{"told", true}});
    if (failed) return;
    if (reason == Reason::Died) receive_for(kGraceSeconds);
    channel_.send_all({{"exit", true}});
    end_rank(1);
  }

  void receive_for(double seconds) {
    for (const auto start = Clock::now(); seconds_since(start) < seconds;) receive(seconds / 10);
  }

  void ask_for_stacks(double seconds) {
    for (auto& [rank, peer] : peers_) peer.answered = peer.bye || is_gone(peer);
    channel_.send_all({{"ask", "stacks"}});
    for (const auto start = Clock::now(); seconds_since(start) < seconds;) {
      if (!any([](const Peer& peer) { return !peer.answered && !is_gone(peer); })) break;
      receive(tick_ / 2);
    }
  }

  RankStatus as_seen(const Peer& peer) const {
    RankStatus status = peer.last;
    status.silent_seconds = seconds_since(peer.heard);
    status.seconds_since_progress += status.silent_seconds;
    const bool here = status.host == place_.host && status.pid > 0;
    if (here && status.state == State::Running && is_stopped(status.pid)) status.state = State::Stopped;
    return status;
  }

  void write_ranks(bool ended) {
    RankTable table{.started = started_, .unix_time = unix_time(), .ended = ended, .ranks = {own_status()}};
    for (const auto& [rank, peer] : peers_) table.ranks.push_back(as_seen(peer));
    files_.write("ranks.json", json_text(to_json(table), 1) + "\n");
  }

  // --- the end

  void decide() {
    const std::lock_guard lock(mutex_);
    if (!decided_) decided_at_ = Clock::now();
    decided_ = true;
    reported_.notify_all();
  }

  bool decided() {
    const std::lock_guard lock(mutex_);
    return decided_;
  }

  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
  }

  const double limit_;
  const double tick_;
  const double started_ = unix_time();
  const Place place_;
  SideChannel channel_;
  ReportFiles files_;
  FileDescriptor wake_;        // readable when failed() or the destructor wakes the thread
  std::map<int, Peer> peers_;  // on rank 0 all others, on the others rank 0
  bool complained_ = false;
  Clock::time_point decided_at_;

  std::mutex mutex_;  // guards the rest, which failed() shares with the thread
  std::condition_variable reported_;
  std::optional<std::string> error_;
  bool decided_ = false;  // there is a report; no second one follows

  std::jthread thread_;  // last: it uses all of the above
};

void find_problems(const WatchdogConfig& config, Problems& problems) {
  problems.require(config.seconds >= 0, fmt::format("--watchdog.seconds must be at least 0, found {}", config.seconds));
}

Watchdog::Watchdog(const WatchdogConfig& config, Place place,
                   const std::function<std::string(const std::string&)>& share) {
  if (config.seconds > 0) thread_ = std::make_unique<Thread>(config, std::move(place), share);
  StartWatch::hand_over();
}

Watchdog::~Watchdog() = default;

void Watchdog::report_to(std::filesystem::path folder) {
  if (thread_) thread_->report_to(std::move(folder));
}

void Watchdog::failed(const std::string& error) {
  if (thread_) thread_->failed(error);
}

}  // namespace pixelbert::watch
