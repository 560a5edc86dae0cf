#include "watch/report_files.h"

#include <pthread.h>

#include <chrono>
#include <fstream>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pixelbert::watch {
namespace {

// Replaces the file in one piece, without a flush to the disk: this happens every second. Does nothing if the run has
// no folder.
void replace(const std::filesystem::path& path, const std::string& content) {
  const std::filesystem::path run = path.parent_path().parent_path();
  if (!std::filesystem::is_directory(run)) return;
  std::filesystem::create_directory(path.parent_path());
  std::filesystem::path aside = path;
  aside += ".tmp";
  {
    std::ofstream file(aside, std::ios::binary);
    file << content;
    PB_CHECK(file.flush().good(), "cannot write {}", aside.string());
  }
  std::filesystem::rename(aside, path);
}

}  // namespace

ReportFiles::ReportFiles() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

ReportFiles::~ReportFiles() = default;

void ReportFiles::write_to(std::filesystem::path folder) {
  const std::lock_guard lock(mutex_);
  folder_ = std::move(folder);
}

void ReportFiles::write(const std::string& name, std::string content) {
  const std::lock_guard lock(mutex_);
  if (folder_.empty()) return;
  waiting_[name] = std::move(content);
  changed_.notify_all();
}

bool ReportFiles::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return waiting_.empty() && !writing_; });
}

void ReportFiles::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "watchdog files");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, stop, [&] { return !waiting_.empty(); });
    if (waiting_.empty()) return;
    const auto next = waiting_.extract(waiting_.begin());
    const std::filesystem::path path = folder_ / next.key();
    writing_ = true;
    lock.unlock();
    try {
      replace(path, next.mapped());
    } catch (const std::exception& error) {
      if (!std::exchange(complained_, true)) log::warn("watchdog: {}", error.what());
    }
    lock.lock();
    writing_ = false;
    changed_.notify_all();
  }
}

}  // namespace pixelbert::watch
