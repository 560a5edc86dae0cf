#include "core/folder_lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <mutex>
#include <sstream>

#include "core/activity.h"
#include "core/check.h"
#include "core/host.h"
#include "core/log.h"
#include "core/stop_signal.h"

namespace pixelbert {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

struct Holder {
  std::string host, since;
  std::string boot, pids;  // of the running kernel and of the pid namespace, in which `pid` is valid
  std::string pid, start;  // start: in clock ticks since the boot; pids are used again
};

std::string text_of(const Holder& holder) {
  return fmt::format("host {}\npid {}\nsince {}\nboot {}\npids {}\nstart {}\n", holder.host, holder.pid, holder.since,
                     holder.boot, holder.pids, holder.start);
}

Holder holder_in(const std::string& text) {
  Holder holder;
  std::istringstream lines(text);
  for (std::string key, value; lines >> key && std::getline(lines >> std::ws, value);) {
    if (key == "host") holder.host = value;
    if (key == "pid") holder.pid = value;
    if (key == "since") holder.since = value;
    if (key == "boot") holder.boot = value;
    if (key == "pids") holder.pids = value;
    if (key == "start") holder.start = value;
  }
  return holder;
}

std::string described(const std::string& text) {
  const Holder holder = holder_in(text);
  if (holder.pid.empty()) return "another job, which has not written its identity yet";
  return fmt::format("the job with pid {} on host {}, running since {}", holder.pid, holder.host, holder.since);
}

struct Process {
  char state = '?';
  std::string start;  // empty: there is no such process
};

Process process_of(const std::string& pid) {
  std::string stat;
  std::getline(std::ifstream(fmt::format("/proc/{}/stat", pid)), stat);
  const std::size_t name_end = stat.rfind(") ");  // the name may hold anything
  if (name_end == std::string::npos) return {};
  Process process;
  std::istringstream fields(stat.substr(name_end + 2));
  fields >> process.state;
  for (int field = 4; field <= 22; ++field) fields >> process.start;  // proc(5): 3 is the state, 22 the start
  return process;
}

Holder this_process() {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::error_code ignored;
  return {.host = host_name(),
          .since = fmt::format("{:%F %T} UTC", fmt::gmtime(std::time(nullptr))),
          .boot = boot,
          .pids = fs::read_symlink("/proc/self/ns/pid", ignored).string(),
          .pid = fmt::to_string(::getpid()),
          .start = process_of("self").start};
}

// Returns whether its pid is valid here.
bool is_here(const Holder& holder) {
  const Holder own = this_process();
  return holder.boot == own.boot && holder.pids == own.pids;
}

bool lives(const Holder& holder) {
  const Process process = process_of(holder.pid);
  if (process.start.empty()) {  // or it is hidden from this user
    const int pid = std::atoi(holder.pid.c_str());
    return pid > 0 && ::kill(pid, 0) != 0 && errno == EPERM;
  }
  return process.start == holder.start && process.state != 'Z' && process.state != 'X';
}

[[noreturn]] void refuse(const fs::path& path, const std::string& holder) {
  fail(
      fmt::format("{} is in use by {} ({}): wait for its end or stop it, or give another folder (in a copy of that "
                  "job's folder remove this file)",
                  path.parent_path().string(), described(holder), path.string()));
}

FileDescriptor open_lock(const fs::path& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  PB_CHECK(fd, "cannot open {}: {}; it keeps a second job out of the folder, which must be writable", path.string(),
           std::strerror(errno));
  return fd;
}

enum class Kernel { Ours, Theirs, NoLocks };

Kernel try_lock(int fd) {
  struct flock whole{};  // locks the open file, not the process: close() of another descriptor does not end it
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return Kernel::Ours;
  return errno == EAGAIN || errno == EACCES ? Kernel::Theirs : Kernel::NoLocks;
}

std::string content_of(int fd) {
  std::array<char, 1024> buffer{};
  const ssize_t size = ::pread(fd, buffer.data(), buffer.size(), 0);
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

// The state that a renewal changes. A network file system asks its server for it when a file is opened.
struct Look {
  std::string content;
  std::int64_t ns = 0;
  ino_t inode = 0;
  bool there = false;
  bool operator==(const Look&) const = default;
};

Look look_at(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat file{};
  if (!fd || ::fstat(fd.get(), &file) != 0) return {};
  return {content_of(fd.get()), file.st_mtim.tv_sec * 1'000'000'000 + file.st_mtim.tv_nsec, file.st_ino, true};
}

void sleep_or_stop(milliseconds time) {
  std::this_thread::sleep_for(time);
  activity::moved();  // for the watchdog: this may take two minutes
  end_when_stop_signalled();
}

// Returns whether the file is renewed within three periods, by its holder or by a new one.
bool moves(const fs::path& path, const Look& first, milliseconds period) {
  for (const auto start = Clock::now(); Clock::now() - start < 3 * period;) {
    sleep_or_stop(period / 10);
    if (look_at(path) != first) return true;
  }
  return false;
}

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);  // also counts while the machine sleeps
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

FolderLock::FolderLock(fs::path path, milliseconds period, milliseconds server_patience)
    : path_(std::move(path)), period_(period), server_patience_(server_patience), own_(text_of(this_process())) {
  acquire();
  renewed_ = now_ns();
  keeper_ = std::jthread([this](const std::stop_token& stop) { keep(stop); });
}

FolderLock::~FolderLock() {
  keeper_.request_stop();
  keeper_.join();
  // Before the kernel lock ends with `fd_`: the process that gets it next sees that the file was removed.
  if (look_at(path_).content == own_) ::unlink(path_.c_str());
}

void FolderLock::acquire() {
  const auto start = Clock::now();
  bool waited = false;
  for (;;) {
    fd_ = open_lock(path_);
    const Kernel lock = try_lock(fd_.get());
    const Look found = look_at(path_);
    struct stat file{};
    PB_CHECK(::fstat(fd_.get(), &file) == 0, "cannot look at {}: {}", path_.string(), std::strerror(errno));
    if (file.st_ino != found.inode) continue;  // its holder has just removed it

    if (found.content.empty() && lock != Kernel::Ours && Clock::now() - start < std::chrono::seconds(1)) {
      sleep_or_stop(milliseconds(20));  // the holder is about to write it
      continue;
    }
    const Holder holder = holder_in(found.content);
    const bool here = is_here(holder);
    if (lock == Kernel::Theirs) {
      if (here || found.content.empty()) refuse(path_, found.content);
      if (!waited)
        log::info("{} is locked by {}: checking whether that job is alive", path_.string(), described(found.content));
      waited = true;
    } else if (holder.pid.empty() || (here && !lives(holder))) {
      return take(found.content, /*alone=*/lock == Kernel::Ours);
    } else if (here) {
      refuse(path_, found.content);
    }

    if (moves(path_, found, period_)) {
      if (const Look now = look_at(path_); now.there) refuse(path_, now.content);
      continue;
    }
    if (lock != Kernel::Theirs) return take(found.content, /*alone=*/false);
    if (Clock::now() - start >= server_patience_) {
      fail(
          fmt::format("{} is locked by {}, which has not renewed it for {} s (suspended, or its host is lost): end it, "
                      "or give another folder",
                      path_.string(), described(found.content),
                      std::chrono::duration_cast<std::chrono::seconds>(server_patience_).count()));
    }
  }
}

void FolderLock::take(const std::string& left_by, bool alone) {
  const auto size = static_cast<ssize_t>(own_.size());
  PB_CHECK(::ftruncate(fd_.get(), 0) == 0 && ::pwrite(fd_.get(), own_.data(), own_.size(), 0) == size &&
               ::fsync(fd_.get()) == 0,
           "cannot write {}: {}", path_.string(), std::strerror(errno));
  if (!left_by.empty()) log::info("{} was left behind by {}", path_.string(), described(left_by));
  if (alone) return;
  // Without locks, or without locks between hosts, another newcomer may have taken it, too: the last one keeps it.
  sleep_or_stop(period_ / 5);
  if (const Look now = look_at(path_); now.content != own_) refuse(path_, now.content);
}

void FolderLock::check() {
  if (now_ns() - renewed_ > std::chrono::nanoseconds(2 * period_).count()) renew();
}

// A read that fails or finds nothing proves nothing: file servers fail at times.
void FolderLock::renew() {
  const FileDescriptor fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return;
  const std::string content = content_of(fd.get());
  PB_CHECK(
      content.empty() || content == own_,
      "{} now belongs to another job, {}: this job was suspended, or both began at the same moment on a file system "
      "without locks between hosts; this one ends, the other continues",
      path_.parent_path().string(), described(content));
  ::futimens(fd.get(), nullptr);
  renewed_ = now_ns();
}

void FolderLock::keep(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "folder-lock");
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stopped.wait_for(lock, stop, period_, [&] { return stop.stop_requested(); })) {
    try {
      renew();
    } catch (const Error& error) {  // ends now, whatever the job is writing
      log::error("{}", error.what());
      spdlog::default_logger()->flush();
      std::_Exit(1);
    }
  }
}

}  // namespace pixelbert
