// Writes <run>/watchdog/ in a thread of its own, because a file system that does not answer is one of the things that a
// watchdog watches.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace pixelbert::watch {

class ReportFiles {
 public:
  ReportFiles();
  ~ReportFiles();  // writes what is waiting

  // Sets the folder; without one nothing is written. The first file also makes it, if the folder above exists.
  void write_to(std::filesystem::path folder);

  // Replaces the file in one piece, later. The newest content of a name wins.
  void write(const std::string& name, std::string content);

  // Returns whether everything is written within `seconds`.
  bool wait(double seconds);

 private:
  void run(const std::stop_token& stop);

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, std::string> waiting_;  // by name
  bool writing_ = false;
  bool complained_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace pixelbert::watch
